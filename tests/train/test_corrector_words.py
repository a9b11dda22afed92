"""Whether a corrector reads: what validation compares, and samples of which only the words decide:
`pytest tests/train/test_corrector_words.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
import torch
from corrector_toys import settings, toy_flux, triplet, write
from safetensors.torch import load_file
from torch import Tensor

from reflectionflow_core.flux.branch import FluxInputs
from reflectionflow_core.flux.lora import FILE_NAME, CorrectorLora
from reflectionflow_core.flux.text import corrector_text
from reflectionflow_core.record import InputError, Verdict
from train.corrector.encoded import Encoded
from train.corrector.loss import FlowLoss, logit_normal
from train.corrector.mixture import Sampler, dropped
from train.corrector.samples import Dropped, Shards, TrainingBatch, text_of
from train.corrector.settings import Drops, MendedSettings, Mixture, Validation, Views
from train.corrector.training import Overrides, train
from train.corrector.validation import Checks, held_out
from train.fit import Draw
from train.latents.encoding import encode
from train.latents.settings import LatentsSettings
from train.prompt_words import digest
from train.shard_lists import shards_in
from train.triplets import SampleError, Triplets, sibling_group


@pytest.fixture(scope="module")
def flux():
    return toy_flux()


def triplets_in(folder: Path) -> Triplets:
    return Triplets(shards_in(folder))


WORDS = ("make the circle red", "make the circle blue", "remove the green square", "add a circle")


def checks(flux, source, count: int = 4) -> Checks:
    return Checks(flux, source, range(count), Validation())


def several(tmp_path: Path, words: Sequence[str] = WORDS) -> Path:
    samples = [triplet(number, reflection=said) for number, said in enumerate(words)]
    return write(tmp_path / "data", samples)


def blind(inputs: FluxInputs) -> Tensor:
    return torch.zeros_like(inputs.latents)


def test_who_reads_no_words_has_the_same_error_whatever_they_say(flux, tmp_path: Path) -> None:
    source = Shards(flux, triplets_in(several(tmp_path)), settings(tmp_path, tmp_path))
    error = checks(flux, source).error(blind)
    assert error is not None and error.shuffled is not None
    for other in (error.untold, error.shuffled, error.alone, error.nothing):
        assert (error.told == other).all()
    figures = error.figures()
    assert figures["untold_minus_told"] == figures["standard_error"] == 0
    assert figures["nothing_minus_alone"] == figures["standard_error_alone"] == 0


def test_who_reads_has_a_larger_error_with_no_words_and_with_anothers(flux, tmp_path: Path) -> None:
    source = Shards(flux, triplets_in(several(tmp_path)), settings(tmp_path, tmp_path))
    seen = checks(flux, source)
    true = cycle([batch.text for batch in seen.batches])

    def reader(inputs: FluxInputs) -> Tensor:
        return inputs.latents * (1 if torch.equal(inputs.text, next(true)) else 9)

    error = seen.error(reader)
    assert error is not None and error.shuffled is not None
    assert (error.untold > error.told).all() and (error.shuffled > error.told).all()
    figures = error.figures()
    gap = error.untold - error.told
    assert figures["untold_minus_told"] == pytest.approx(gap.mean())
    assert figures["standard_error"] == pytest.approx(gap.std(ddof=1) / 2)
    assert "none minus true +" in error.sentence()
    alone = cycle([batch.text for batch in seen.others["alone"]])

    def reader_of_words(inputs: FluxInputs) -> Tensor:
        return inputs.latents * (1 if torch.equal(inputs.text, next(alone)) else 9)

    without = seen.error(reader_of_words)
    assert without is not None and without.nothing is not None and without.alone is not None
    assert (without.nothing > without.alone).all()
    assert ", without a prompt +" in without.sentence()


def test_anothers_words_are_the_next_that_say_something_else(flux, tmp_path: Path) -> None:
    words = (WORDS[0], WORDS[0], "", WORDS[1])
    source = Shards(flux, triplets_in(several(tmp_path, words)), settings(tmp_path, tmp_path))
    assert [source.another(index) for index in range(4)] == [WORDS[1]] * 3 + [WORDS[0]]
    alike = Shards(flux, triplets_in(several(tmp_path, WORDS[:1] * 4)), source.views)
    with pytest.raises(SampleError, match="no other reflection"):
        alike.another(0)
    error = checks(flux, alike).error(blind)
    assert error is not None and error.shuffled is None
    assert "another" not in error.sentence() and "shuffled" not in error.figures()


def test_latents_have_anothers_words_where_they_were_asked_for(flux, tmp_path: Path) -> None:
    data, views = several(tmp_path), settings(tmp_path, tmp_path / "data")
    plain = Shards(flux, triplets_in(data), views)
    for asked in (True, False):
        out = tmp_path / str(asked)
        made = {name: getattr(views, name) for name in Views.model_fields}
        encode(LatentsSettings(**made, out=out, shuffled=asked), flux)
        found = checks(flux, Encoded(out, views, flux))
        assert found.has("untold") and found.has("shuffled") == asked and not found.has("alone")
        if asked:
            same = checks(flux, plain).others["shuffled"]
            for mine, other in zip(found.others["shuffled"], same, strict=True):
                assert torch.allclose(mine.text, other.text, atol=1e-5)


# Siblings


def siblings(tmp_path: Path, groups: int = 6, of: int = 3, first: int = 0) -> Path:
    """`groups` flawed pictures, with `of` reflections and targets each."""
    samples = [
        triplet(
            number,
            key=f"editing-{first + group:08d}-0~{number}",
            bad=triplet(100 + group).bad,
            good=triplet(10 * group + number).good,
            reflection=f"{WORDS[number]} of picture {group}",
            subset="editing",
        )
        for group in range(groups)
        for number in range(of)
    ]
    return write(tmp_path / "data", [*samples, *(triplet(number) for number in range(2))])


def picked(source, siblings: int, without: Sequence[int] = (), seed: int = 0) -> list[int]:
    sampler = Sampler(source.labels, Mixture(), without, source.groups, siblings)
    return list(islice(sampler.picks(0, np.random.default_rng(seed)), 300))


def test_keys_say_which_samples_show_one_flawed_picture() -> None:
    assert sibling_group("editing-00000003-0~1") == sibling_group("editing-00000003-0~11")
    assert sibling_group("editing-00000003-0") == "editing-00000003-0"
    assert sibling_group("a~b") == "a~b"


def test_siblings_follow_each_other_and_come_in_any_order(flux, tmp_path: Path) -> None:
    data = siblings(tmp_path)
    source = Shards(flux, triplets_in(data), settings(tmp_path, data))
    found = picked(source, siblings=3)
    assert found == picked(source, siblings=3) != picked(source, siblings=3, seed=1)
    orders = set()
    while found:
        group, found = found[:3], found[3:]
        if source.labels[group[0]][0] == "rule":  # it has no siblings
            found = group[1:] + found
        elif len(group) == 3:
            assert len(set(group)) == 3 and len({source.groups[i] for i in group}) == 1
            orders.add(tuple(i % 3 for i in group))
    assert len(orders) == 6
    plain = Sampler(source.labels, Mixture())
    same = list(islice(plain.picks(0, np.random.default_rng(0)), 300))
    assert picked(source, siblings=1) == same  # as before there were siblings


def test_equal_keys_of_two_data_runs_are_no_siblings_in_latents_either(flux, tmp_path) -> None:
    folders = [siblings(tmp_path / name, groups=1, of=2) for name in "ab"]
    views = settings(tmp_path, "::".join(map(str, folders)))
    shards = Shards(flux, Triplets(shards_in(views.data)), views)
    made = {name: getattr(views, name) for name in Views.model_fields}
    encode(LatentsSettings(**made, out=tmp_path / "latents"), flux)
    groups = Encoded(tmp_path / "latents", views, flux).groups
    assert len(set(shards.groups.tolist())) == len(set(groups.tolist())) == 6
    assert [np.flatnonzero(shards.groups == g).tolist() for g in shards.groups] == [
        np.flatnonzero(groups == g).tolist() for g in groups
    ]
    (one,) = folders[0].glob("*.tar")
    found = Triplets([one, Path(copy(one, folders[0] / "more.tar"))]).entries.groups()
    assert found[0] == found[1] == found[4] == found[5]  # in another shard of the same run


def test_latents_of_other_samples_than_there_are_now_are_refused(flux, tmp_path) -> None:
    data = siblings(tmp_path / "a", groups=2, of=2)
    views = settings(tmp_path, data)
    made = {name: getattr(views, name) for name in Views.model_fields}
    encode(LatentsSettings(**made, out=tmp_path / "latents"), flux)
    encode(LatentsSettings(**made, out=tmp_path / "latents"), flux)  # they are all there
    other = siblings(tmp_path / "b", groups=2, of=2, first=5)
    for old, new in zip(sorted(data.glob("*.tar")), sorted(other.glob("*.tar")), strict=True):
        copy(new, old)
    with pytest.raises(InputError, match="are of other samples than those that are in"):
        encode(LatentsSettings(**made, out=tmp_path / "latents"), flux)


def test_siblings_of_a_held_out_sample_are_held_out_too(flux, tmp_path: Path) -> None:
    data = siblings(tmp_path)
    source = Shards(flux, triplets_in(data), settings(tmp_path, data))
    left = set(picked(source, siblings=3, without=[4]))
    assert left == {*range(20)} - {3, 4, 5}


def test_a_held_out_prompt_is_never_trained_on(flux, tmp_path: Path) -> None:
    """Also where other samples ask for it in other words."""
    asked = [f"{'an image' if i % 2 else 'a photo'} of {i // 2} circles" for i in range(12)]
    data = write(tmp_path / "data", [triplet(i, prompt=p) for i, p in enumerate(asked)])
    latents = tmp_path / "latents"
    views = settings(tmp_path, data)
    made = {name: getattr(views, name) for name in Views.model_fields}
    encode(LatentsSettings(**made, out=latents), flux)
    for source in (
        Shards(flux, triplets_in(data), settings(tmp_path, data)),
        Encoded(latents, settings(tmp_path, data), flux),
    ):
        tested = held_out(3, source.prompts, seed=1)
        assert len({i // 2 for i in tested}) == 3
        sampler = Sampler(source.labels, Mixture(), tested, source.groups, 1, source.prompts)
        drawn = set(islice(sampler.picks(0, np.random.default_rng(0)), 300))
        assert {i // 2 for i in drawn} == {*range(6)} - {i // 2 for i in tested}
        assert len(held_out(9, source.prompts, seed=1)) == 3  # at most half of the prompts


def test_prompts_that_are_held_out_stay_so_while_the_data_grow() -> None:
    prompts = np.array([digest(f"{number // 2} circles") for number in range(600)], np.uint64)
    few, many = prompts[:400], np.random.default_rng(1).permutation(prompts)
    first, later = (set(each[held_out(16, each, 0)].tolist()) for each in (few, many))
    assert len(first) == len(later) == 16
    assert not (later - first) & set(few.tolist())  # what is new there was not trained on before
    assert len(first & later) > 5
    assert first != set(few[held_out(16, few, 1)].tolist())
    unknown = np.zeros(40, np.uint64)
    assert len(set(held_out(16, unknown, 0))) == 16


def test_siblings_have_one_noise_and_time_and_others_their_own() -> None:
    """A guess of nothing has the squared slope as its error: equal noise gives equal errors."""
    kept = torch.ones(4, dtype=torch.bool)
    target = torch.zeros(4, 16, 64)
    texts = torch.zeros(4, 6, 8), torch.zeros(4, 8)
    keys = ("a~0", "b", "a~1", "c")
    batch = TrainingBatch(keys, target, (4, 4), target, (4, 4), *texts, kept)
    seen: list[FluxInputs] = []

    def guess(inputs: FluxInputs) -> Tensor:
        seen.append(inputs)
        return blind(inputs)

    for shared in (True, False):
        FlowLoss(guess, lambda _: batch, logit_normal(), shared=shared)(Draw(0, 0))
    together, apart = seen
    assert torch.equal(together.latents[0], together.latents[2])
    assert together.timestep[0] == together.timestep[2]
    assert len(set(together.timestep.tolist())) == 3 and len(set(apart.timestep.tolist())) == 4
    for row in (0, 1, 3):
        assert torch.equal(together.latents[row], apart.latents[row])


def test_a_training_on_siblings_goes_on_exactly_and_may_not_become_another(
    flux, tmp_path: Path
) -> None:
    data, changes = siblings(tmp_path), {"siblings": 3, "batch": 6, "drop": {"prompt": 0.5}}
    for name, stops in (("whole", [4]), ("cut", [2, 4])):
        for steps in stops:
            chosen = settings(tmp_path / name, data, **changes, steps=steps, save_every=2)
            train(chosen, Overrides(flux=flux))
    one, other = (load_file(tmp_path / name / FILE_NAME) for name in ("whole", "cut"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    with pytest.raises(InputError, match="was started with siblings=3"):
        train(settings(tmp_path / "cut", data, **{**changes, "siblings": 1}), Overrides(flux=flux))


def test_without_its_prompt_a_reflection_is_all_that_is_read(flux, tmp_path: Path) -> None:
    assert text_of("a dog", "make it bark", Dropped(prompt=True)) == corrector_text(
        "", "make it bark"
    )
    drops = Drops(text=0, reflection=0, image=0, together=0, prompt=0.5)
    rng = np.random.default_rng(0)
    share = np.mean([dropped(drops, "editing", rng).prompt for _ in range(2000)])
    assert share == pytest.approx(0.5, abs=0.05)
    data, views = several(tmp_path), settings(tmp_path, tmp_path / "data")
    plain, alone = Shards(flux, triplets_in(data), views), Dropped(prompt=True)
    made = {name: getattr(views, name) for name in Views.model_fields}
    encode(LatentsSettings(**made, out=tmp_path / "alone", alone=True), flux)
    encoded = Encoded(tmp_path / "alone", views, flux)
    for drop in (alone, Dropped(prompt=True, reflection=True)):
        mine = plain.batch([plain.read(1, drop, rng)])
        other = encoded.batch([encoded.read(1, drop, rng)])
        assert torch.allclose(mine.text, other.text, atol=1e-5)
        assert torch.allclose(mine.pooled, other.pooled, atol=1e-5)
    encode(LatentsSettings(**made, out=tmp_path / "none"), flux)
    chosen = settings(tmp_path / "out", data, latents=tmp_path / "none", drop={"prompt": 0.5})
    with pytest.raises(InputError, match="no reflections without their prompts"):
        train(chosen, Overrides(flux=flux))


class Judge:
    """Passes the pictures whose numbers are named, in the order in which they are shown."""

    calls = 0

    def __init__(self, *passing: int, scores: bool = True) -> None:
        self.passing, self.seen, self.scores = passing, 0, scores

    def verify(self, prompt: str, images: Sequence[Any], progress: Any = None) -> list[Verdict]:
        assert prompt.startswith("a photo of a")
        found = [self.seen + i in self.passing for i in range(len(images))]
        self.seen += len(images)
        return [Verdict(float(passed), passed if self.scores else None) for passed in found]


def test_validation_counts_what_a_correction_mends_by_the_words_that_it_reads(
    flux, tmp_path: Path
) -> None:
    source = Shards(flux, triplets_in(several(tmp_path)), settings(tmp_path, tmp_path))
    checked = Validation(pictures=0, steps=1, mended=MendedSettings(pictures=3))
    lora = CorrectorLora.create(flux.transformer, 4)
    seen = Checks(flux, source, range(4), checked, lora)
    # Each picture is shown before, and told, untold and shuffled; the second is right already.
    mended = seen.mended(Judge(1, 4, 6, 7))
    assert mended is not None and mended.shuffled is not None
    assert mended.told.tolist() == [True, True]
    assert mended.untold.tolist() == [False, True]
    assert mended.shuffled.tolist() == [False, False]
    assert mended.figures() == {
        "pictures": 2,
        "told": 1.0,
        "untold": 0.5,
        "shuffled": 0.0,
        "told_minus_untold": 0.5,
        "standard_error": 0.5,
    }
    assert "fixes 1.000 with the true reflection, 0.500 with none, 0.000" in mended.sentence()
    rises = seen.mended(Judge(1, 4, 6, 7, scores=False))  # all are flawed to a judge that scores
    assert rises is not None and rises.told.tolist() == [True, False, False]
    with pytest.raises(InputError, match="was not judged"):
        seen.mended(Silent())
    assert Checks(flux, source, range(4), checked, lora).mended(Judge(*range(9))) is None


class Silent(Judge):
    def verify(self, prompt: str, images: Sequence[Any], progress: Any = None) -> list[Verdict]:
        return [Verdict.unjudged("It is silent.") for _ in images]
