"""What the corrector learns from: sizes, crops, mixture, drops, broken samples, samples encoded
beforehand: `pytest tests/train/test_corrector_data.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from corrector_toys import settings, shards, toy_flux, triplet, write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reflectionflow_core.archive import files
from reflectionflow_core.flux.condition import ConditionSettings
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.record import InputError
from train.corrector.batches import Batches, BatchReader
from train.corrector.encoded import Encoded, part_file
from train.corrector.mixture import Sampler, dropped
from train.corrector.pairs import black, buckets, nearest, prepared
from train.corrector.recipe import drop_shares, subset_shares
from train.corrector.samples import WHOLE, Dropped, Shards, text_of
from train.corrector.settings import CorrectorSettings, Drops, Mixture, Views
from train.fit import Draw
from train.latents.encoding import encode
from train.latents.settings import LatentsSettings
from train.settings import read_config
from train.shard_lists import shards_in
from train.skipped import reasons
from train.triplets import SUBSETS, SampleError, Triplets

CONFIGS = Path(__file__).parents[2] / "train" / "configs"


@pytest.fixture(scope="module")
def flux():
    return toy_flux()


def triplets_in(folder: Path) -> Triplets:
    return Triplets(shards_in(folder))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Sizes and crops


@given(st.integers(4, 80).map(lambda n: 16 * n), st.floats(1, 4))
def test_buckets_have_about_the_area_of_the_square_and_whole_tokens(target, aspect) -> None:
    found = buckets(target, aspect)
    assert (target, target) in found
    for width, height in found:
        assert width % 16 == height % 16 == 0
        assert max(width, height) / min(width, height) <= aspect + 1e-9 or width == height
        assert abs(math.log(width * height / target**2)) < 16 / min(width, height)
        assert (height, width) in found


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_nearest_bucket_is_the_nearest_in_proportion(width, height) -> None:
    among = buckets(1024, 2)
    chosen = nearest((width, height), among)
    ratio = math.log(width / height)
    assert all(
        abs(math.log(chosen[0] / chosen[1]) - ratio) <= abs(math.log(w / h) - ratio) + 1e-9
        for w, h in among
    )
    # Of two that are equally near, either may be chosen.
    swapped = nearest((height, width), among)
    off = abs(math.log(swapped[1] / swapped[0]) - ratio)
    assert math.isclose(off, abs(math.log(chosen[0] / chosen[1]) - ratio), abs_tol=1e-9)


@given(st.integers(64, 300), st.integers(64, 300), st.integers(0, 99))
def test_target_and_condition_show_the_same_part(width: int, height: int, seed: int) -> None:
    across = np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3))
    good = Image.fromarray(across.astype(np.uint8))
    bad = good.resize((50, 70))  # of another size and aspect
    target, flawed = prepared(good, bad, (64, 64), ConditionSettings(32), rng(seed))
    assert target.size == (64, 64)
    assert flawed.size == (32, 32)
    one, other = (np.asarray(x.resize((16, 16)), float) for x in (target, flawed))
    assert np.abs(one - other)[2:-2, 2:-2].max() < 255 / width * 6 + 6


def test_crops_move_and_keep_the_shorter_side_whole() -> None:
    good = Image.fromarray(rng().integers(0, 256, (64, 128, 3), np.uint8))
    seen = {
        prepared(good, good, (64, 64), ConditionSettings(32), rng(seed))[0].tobytes()
        for seed in range(20)
    }
    assert len(seen) > 10
    target, _ = prepared(good, good, (64, 64), ConditionSettings(32), rng(3))
    columns = np.asarray(good)
    assert any(
        np.array_equal(np.asarray(target), columns[:, left : left + 64]) for left in range(65)
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 64)])
def test_small_pictures_are_blown_up_and_slivers_refused(size) -> None:
    condition = ConditionSettings(32)
    target, _ = prepared(
        Image.new("RGB", size), Image.new("RGB", (9, 9)), (64, 64), condition, rng()
    )
    assert target.size == (64, 64)
    sliver = Image.new("RGB", (1, 9))
    with pytest.raises(SampleError, match="picture too narrow"):
        prepared(sliver, sliver, (64, 64), condition, rng())


def test_buckets_follow_from_the_index_alone(tmp_path: Path) -> None:
    sizes = [(64, 64), (96, 64), (64, 128)]
    folder = write(tmp_path, [triplet(i, size) for i, size in enumerate(sizes)])
    found = triplets_in(folder)
    assert found.entries.sizes().T.tolist() == [list(size) for size in sizes]
    for shard in folder.glob("*.tar"):
        shard.unlink()
    views = Views(max_aspect=2, target_size=64, condition_size=32)
    flux = cast(Flux, SimpleNamespace(token_pixels=16))
    shards = Shards(flux, found, views)
    assert [bucket for _, bucket in shards.labels] == [(64, 64), (80, 48), (48, 80)]


# Mixture and drops

LABELS = [("editing", (64, 64))] * 40 + [("rule", (64, 64))] * 10 + [("rule", (80, 48))] * 10


def test_shares_go_from_the_first_to_the_last_among_what_there_is() -> None:
    sampler = Sampler(LABELS, Mixture(over=100))
    assert sampler.shares(0) == pytest.approx({"rule": 0.1 / 0.8, "editing": 0.7 / 0.8})
    assert sampler.shares(50) == pytest.approx({"rule": 0.25 / 0.6, "editing": 0.35 / 0.6})
    assert sampler.shares(100) == sampler.shares(10**9) == {"rule": 1.0, "editing": 0.0}


def test_where_the_mixture_gives_nothing_all_get_the_same() -> None:
    only = Sampler([("editing", (64, 64))] * 3, Mixture())
    assert only.shares(10**6) == {"editing": 1.0}


def test_samples_come_by_their_shares_and_batches_from_one_bucket() -> None:
    sampler, dice = Sampler(LABELS, Mixture(over=100), without=[0, 1]), rng()
    counted: Counter[int] = Counter()
    for _ in range(3000):
        batch = list(islice(sampler.picks(50, dice), 4))
        assert len({LABELS[index][1] for index in batch}) == 1
        counted.update(batch)
    assert not counted[0] and not counted[1]
    rule = sum(count for index, count in counted.items() if LABELS[index][0] == "rule") / 12_000
    assert rule == pytest.approx(0.25 / 0.6, abs=0.03)
    wide = sum(counted[index] for index in range(50, 60)) / 12_000
    assert wide == pytest.approx(rule / 2, abs=0.03)


@pytest.mark.parametrize("siblings", [1, 4])
def test_siblings_leave_the_shares_and_every_samples_chance_as_they_are(siblings: int) -> None:
    labels = [("editing", (64, 64))] * 16 + [("rule", (64, 64))] * 4
    groups = np.array([*range(8), *[8] * 3, *[9] * 5, *range(20, 24)])
    mixture = Mixture(editing=(0.4, 0.4), rule=(0.6, 0.6))
    sampler, dice = Sampler(labels, mixture, (), groups, siblings), rng()
    drawn = [list(islice(sampler.picks(0, dice, 6), 6)) for _ in range(4000)]
    counted = np.bincount(np.concatenate(drawn), minlength=20) / 24_000
    assert counted[:16].sum() == pytest.approx(0.4, abs=0.02)
    assert counted[:16] == pytest.approx(np.full(16, 0.4 / 16), abs=0.005)


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(InputError, match="no samples to train on"):
        Sampler(LABELS[:2], Mixture(), without=[0, 1])
    with pytest.raises(InputError, match="siblings=2 has no effect"):
        Sampler(LABELS[:2], Mixture(), siblings=2)


def test_drops_are_as_frequent_as_set_and_edits_keep_their_picture() -> None:
    chances, dice = Drops(text=0.1, reflection=0.2, image=0.1, together=0.3), rng()
    count = 20_000
    for subset in SUBSETS:
        fallen = [dropped(chances, subset, dice) for _ in range(count)]
        shares = [sum(getattr(d, name) for d in fallen) / count for name in Dropped.__slots__]
        shown = subset == "editing"
        expected = [0.1, 0.2 if shown else 1 - 0.8 * 0.7, 0.0 if shown else 1 - 0.9 * 0.7]
        # No prompt is dropped unless it is asked for, and training never shuffles words.
        assert shares == pytest.approx([*expected, 0.0, 0.0], abs=0.015)
    both = [dropped(chances, "rule", dice) for _ in range(count)]
    together = sum(d.image and d.reflection for d in both) / count
    assert together == pytest.approx(0.3 + 0.7 * 0.2 * 0.1, abs=0.015)


def test_t5_reads_the_reflection_and_clip_the_prompt() -> None:
    assert text_of("a cat", "make it red", WHOLE) == ("a cat", "a cat [Reflexion] make it red")
    assert text_of("a cat", "make it red", Dropped(reflection=True)) == ("a cat", "a cat")
    assert text_of("a cat", "make it red", Dropped(text=True)) == ("a cat", "")
    for empty in ("", "   ", "red ", "ok"):
        assert text_of("a cat", empty, WHOLE) == ("a cat", "a cat")


# Samples


def test_a_dropped_picture_is_black(flux, tmp_path: Path) -> None:
    views = settings(tmp_path, shards(tmp_path / "data", 4))
    source = Shards(flux, triplets_in(tmp_path / "data"), views)
    row = source.read(1, Dropped(image=True), rng())
    assert row.condition.tobytes() == black(views.condition, (64, 64)).tobytes()
    assert not np.asarray(row.condition).any()
    batch = source.batch([row, source.read(1, WHOLE, rng())])
    assert batch.shown.tolist() == [False, True]
    assert batch.target.shape == (2, 16, 64)
    assert batch.condition.shape == (2, 4, 64)
    assert not torch.equal(batch.condition[0], batch.condition[1])


def reader(flux, folder: Path, views: CorrectorSettings) -> BatchReader:
    source = Shards(flux, triplets_in(folder), views)
    return BatchReader(source, Sampler(source.labels, views.mixture), views.drop, 3)


def test_a_draw_is_the_same_rows_whoever_asks_and_whenever(flux, tmp_path: Path) -> None:
    views = settings(tmp_path, shards(tmp_path / "data"), max_aspect=2)
    read = reader(flux, tmp_path / "data", views)
    source = read.source

    def coming(draw: Draw):
        return (Draw(0, step) for step in range(draw.step + 1, 6))

    ahead = Batches(source, read, coming, threads=3, a_step=1)
    found = [ahead(Draw(0, step)) for step in range(6)]
    ahead.close()
    for step, batch in enumerate(found):
        again = source.batch(reader(flux, tmp_path / "data", views)(Draw(0, step)))
        assert again.keys == batch.keys
        assert torch.equal(again.target, batch.target)
        assert torch.equal(again.text, batch.text)
    assert len({batch.keys for batch in found}) > 1


def broken_shard(folder: Path) -> Path:
    """A third of its samples have no picture where one should be."""
    samples = [triplet(number) for number in range(12)]
    write(folder, samples)
    file = folder / "some.tar"
    data = bytearray(file.read_bytes())
    for place in triplets_in(folder).entries[::3]:
        offset, size = place.files["good_image.png"]
        data[offset : offset + size] = bytes(size)
    file.write_bytes(data)
    return folder


def test_broken_samples_are_replaced_and_counted(flux, tmp_path: Path) -> None:
    views = settings(tmp_path, broken_shard(tmp_path / "data"))
    read = reader(flux, tmp_path / "data", views)
    keys = {row.key for step in range(20) for row in read(Draw(0, step))}
    assert keys <= {f"noise-{i}" for i in range(12) if i % 3}
    assert read.skipped == {"picture unreadable": 4}  # however often they are drawn
    assert reasons(read.skipped) == "picture unreadable (4: noise-0, noise-3, noise-6 and 1 more)"


def test_shards_that_break_off_keep_their_whole_samples(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", [triplet(number) for number in range(12)]) / "some.tar"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "half.tar").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (broken / "nothing.tar").write_bytes(b"")
    (broken / "words.tar").write_text("not a tar file")
    found = triplets_in(broken)
    assert 4 <= len(found) <= 6
    assert all(found[i].key == f"noise-{i}" for i in range(len(found)))
    assert found.skipped == {"shard truncated": 2, "shard is not a tar file": 1}
    assert f"shard is not a tar file (1: {broken / 'words.tar'})" in reasons(found.skipped)


def test_data_that_is_all_broken_ends_the_training(flux, tmp_path: Path) -> None:
    write(tmp_path, [triplet(number) for number in range(3)])
    source = Shards(flux, triplets_in(tmp_path), settings(tmp_path, tmp_path))
    read = BatchReader(source, Sampler(source.labels, Mixture()), Drops(), 2)
    (tmp_path / "some.tar").unlink()
    with pytest.raises(InputError, match=r"cannot be used: shard unreadable \(3: noise-0, "):
        read(Draw(0, 0))


def test_texts_of_ten_thousand_characters_and_of_none_are_taken(flux, tmp_path: Path) -> None:
    long = "a red circle " * 770
    samples = [triplet(0, prompt=long, reflection=long), triplet(1, prompt="", reflection="")]
    source = Shards(flux, triplets_in(write(tmp_path, samples)), settings(tmp_path, tmp_path))
    with pytest.warns(UserWarning, match="tokens long"):
        batch = source.batch([source.read(i, WHOLE, rng()) for i in range(2)])
    assert batch.text.shape[1] == 24
    assert torch.isfinite(batch.text).all()


# Samples encoded beforehand


def latents_settings(out: Path, data: Path, **changes) -> LatentsSettings:
    views = {name: getattr(settings(out, data, **changes), name) for name in Views.model_fields}
    return LatentsSettings(**views, out=out)


@pytest.mark.parametrize("changes", [{}, {"max_aspect": 2.0, "condition_fit": "fit"}])
def test_encoded_samples_are_what_is_encoded_as_needed(flux, tmp_path: Path, changes) -> None:
    data = shards(tmp_path / "data", 6)
    encode(latents_settings(tmp_path / "latents", data, **changes), flux)
    views = settings(tmp_path, data, **changes)
    plain, encoded = (
        Shards(flux, triplets_in(data), views),
        Encoded(tmp_path / "latents", views, flux),
    )
    assert list(encoded.labels) == list(plain.labels)
    for index in range(6):
        for drop in (WHOLE, Dropped(reflection=True), Dropped(text=True), Dropped(image=True)):
            one = plain.batch([plain.read(index, drop, np.random.default_rng([0, index]))])
            other = encoded.batch([encoded.read(index, drop, rng())])
            assert (one.keys, one.grid, one.condition_grid) == (
                other.keys,
                other.grid,
                other.condition_grid,
            )
            for name in ("target", "condition", "text", "pooled", "shown"):
                # Batches of another size round otherwise.
                torch.testing.assert_close(
                    getattr(other, name), getattr(one, name), atol=1e-4, rtol=1e-4
                )


def test_encoding_resumes_where_it_stopped_and_leaves_no_half_part(
    flux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.latents.encoding.PART", 4)
    data, out = shards(tmp_path / "data", 10), tmp_path / "latents"
    write_all = files.write_all
    written = 0

    def full(descriptor: int, data: bytes) -> None:
        nonlocal written
        written += len(data)
        if written > 150_000:
            write_all(descriptor, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        write_all(descriptor, data)

    monkeypatch.setattr(files, "write_all", full)
    with pytest.raises(InputError, match=r"No space left on device\. Free some space"):
        encode(latents_settings(out, data), flux)
    monkeypatch.setattr(files, "write_all", write_all)
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("part-*")}
    assert 0 < len(before) < 3
    with pytest.raises(InputError, match=r"incomplete: \d of 3 parts"):
        Encoded(out, settings(tmp_path, data), flux)
    encode(latents_settings(out, data), flux)
    assert all((out / name).stat().st_mtime_ns == time for name, time in before.items())
    assert len(Encoded(out, settings(tmp_path, data), flux).labels) == 10
    assert not list(out.glob("*.tmp"))


def test_broken_samples_are_left_out_of_the_encoded(flux, tmp_path: Path) -> None:
    data = broken_shard(tmp_path / "data")
    summary = encode(latents_settings(tmp_path / "latents", data), flux)
    assert "8 samples are encoded" in summary and "unreadable (4: noise-0," in summary
    assert len(Encoded(tmp_path / "latents", settings(tmp_path, data), flux).labels) == 8


def test_long_texts_are_encoded_without_a_warning_for_each(flux, tmp_path: Path, recwarn) -> None:
    data = write(tmp_path / "data", [triplet(0, prompt="a red circle " * 70)])
    assert "1 samples are encoded" in encode(latents_settings(tmp_path / "latents", data), flux)
    assert not [str(each.message) for each in recwarn if "tokens long" in str(each.message)]


def test_latents_that_do_not_fit_are_refused(flux, tmp_path: Path) -> None:
    data, out = shards(tmp_path / "data", 2), tmp_path / "latents"
    with pytest.raises(InputError, match="No latents found"):
        Encoded(out, settings(tmp_path, data), flux)
    encode(latents_settings(out, data), flux)
    with pytest.raises(InputError, match="made with condition_size=32, and the training says 64"):
        Encoded(out, settings(tmp_path, data, condition_size=64), flux)
    with pytest.raises(InputError, match=r"was started with views\.\w+="):
        encode(latents_settings(out, data, seed=5), flux)
    part_file(out, 0).write_bytes(part_file(out, 0).read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cannot be read\. Delete the file"):
        Encoded(out, settings(tmp_path, data), flux)


def test_latents_of_other_weights_are_refused(flux, tmp_path: Path) -> None:
    data, out, vae = shards(tmp_path / "data", 2), tmp_path / "latents", tmp_path / "base" / "vae"
    vae.mkdir(parents=True)
    (vae / "model.safetensors").write_bytes(b"before")
    model = str(vae.parent)
    encode(latents_settings(out, data, model=model), flux)
    Encoded(out, settings(tmp_path, data, model=model), flux)
    (vae / "model.safetensors").write_bytes(b"behind")
    with pytest.raises(InputError, match="made with another vae than that of"):
        Encoded(out, settings(tmp_path, data, model=model), flux)
    with pytest.raises(InputError, match=r"other weights \(vae\)"):
        encode(latents_settings(out, data, model=model), flux)


# The published program's recipe (train_flux/config.yaml and train/data.py at 333d65a)
PUBLISHED = {
    "general": (0.1, 0.3), "length": (0.1, 0.3), "rule": (0.1, 0.4), "editing": (0.7, 0.0)
}  # fmt: skip
STAGE, WORKERS, BATCH, STEPS = 5000, 8, 8, 6000  # the steps are the paper's


def published_shares() -> dict[str, float]:
    """Of a run: each worker makes every eighth batch and counts its own samples."""
    total: Counter[str] = Counter()
    for step in range(STEPS):
        for sample in range(BATCH):
            counted = step // WORKERS * BATCH + sample
            way = min(1.0, counted / STAGE)
            total.update(
                {s: first + way * (last - first) for s, (first, last) in PUBLISHED.items()}
            )
    return {subset: share / (STEPS * BATCH) for subset, share in total.items()}


def test_the_full_configuration_has_the_published_shares_and_drops() -> None:
    settings = CorrectorSettings(**read_config(CONFIGS / "corrector-flux.yaml"))
    found, theirs = subset_shares(settings), published_shares()
    assert found == pytest.approx(theirs, abs=1e-3)
    assert theirs["editing"] == pytest.approx(0.29, abs=0.005)
    drops, others = drop_shares(settings.drop, found["editing"]), 1 - theirs["editing"]
    assert drops == pytest.approx(
        {
            "text": 0.1,
            "reflection": theirs["editing"] * 0.1 + others * (1 - 0.9 * 0.9),
            "prompt": 0.0,
            "image": others * 0.1,
            "black_with_reflection": 0.0,
        },
        abs=1e-3,
    )


@pytest.mark.parametrize("subset", ["editing", "rule"])
def test_computed_drops_are_those_that_are_drawn(subset: str) -> None:
    drops, dice = Drops(text=0.2, reflection=0.3, prompt=0.4, image=0.25, together=0.1), rng()
    drawn = [dropped(drops, subset, dice) for _ in range(4000)]
    computed = drop_shares(drops, float(subset == "editing"))
    for name in ("text", "reflection", "prompt", "image"):
        assert np.mean([getattr(d, name) for d in drawn]) == pytest.approx(computed[name], abs=0.03)
