"""Corrections in places: what is inside may change, every pixel outside is the parent's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
import torch
from fakes import ToyGenerator, Toys, ToyVerifier
from PIL import Image

from reflectionflow_core.archive import Run, open_archive
from reflectionflow_core.cli import main
from reflectionflow_core.evidence import Box, Evidence
from reflectionflow_core.feedback import Feedback
from reflectionflow_core.flux.painter import FluxCorrector, read_latents, written
from reflectionflow_core.miniature.model import load_miniature
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.protocols import SILENT, Actors, LatentKeeping, Painted, Progress
from reflectionflow_core.record import Candidate, History, InputError, Region, Request, Verdict
from reflectionflow_core.regions import joined, region_of
from reflectionflow_core.regions.compositing import composited
from reflectionflow_core.regions.free import free_place
from reflectionflow_core.regions.masks import alpha_of, cells_of, mask_text
from reflectionflow_core.report import contact_sheet, history_text, html_page
from reflectionflow_core.search import Pause, search, search_with_pauses
from reflectionflow_core.search.acceptance import broken_by
from reflectionflow_core.search.strategies.scouts import FINISH, WHOLE
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.writers.template import TemplateWriter
from reflectionflow_core.writers.vlm import broken_before

LEFT: Box = (0.0, 0.0, 0.4, 1.0)
RIGHT: Box = (0.6, 0.25, 0.9, 0.75)
DICE = np.random.default_rng(0)


def noisy(size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.fromarray(DICE.integers(0, 256, (size[1], size[0], 3), "uint8"))


def drawn(size: tuple[int, int] = (64, 64)) -> str:
    """A mask whose left quarter is white."""
    pixels = np.zeros((size[1], size[0]), "uint8")
    pixels[:, : size[0] // 4] = 255
    return mask_text(Image.fromarray(pixels))


def wrong(*faults: str, seen: tuple[Evidence, ...] = (), **aspects: float) -> Verdict:
    return Verdict(0.5, False, aspects, faults, evidence=seen)


@pytest.mark.parametrize("size", [(64, 48), (1, 1), (31, 97), (1024, 8)])
@pytest.mark.parametrize(
    "region", [Region((LEFT,)), Region((LEFT, RIGHT)), Region(mask=drawn()), Region((RIGHT,))]
)
def test_outside_a_region_every_pixel_is_the_parents(region: Region, size: tuple[int, int]) -> None:
    parent, painted = noisy(size), noisy((32, 32))
    alpha = alpha_of(region, size)
    result = np.asarray(composited(parent, painted, region))
    assert (result[alpha == 0] == np.asarray(parent)[alpha == 0]).all()
    whole = np.asarray(painted.resize(size, Image.Resampling.LANCZOS))
    assert (result[alpha == 1] == whole[alpha == 1]).all()


def test_boxes_are_grown_outwards_and_a_drawn_mask_fades_inwards() -> None:
    box = alpha_of(Region((RIGHT,)), (64, 64))
    assert (box[16:48, 39:57] == 1).all() and 0 < box[15, 45] < 1
    assert not box[:11].any() and not box[:, :33].any()
    mask = alpha_of(Region(mask=drawn()), (64, 64))
    assert not mask[:, 16:].any() and mask[:, :15].min() == 1 and 0 < mask[32, 15] < 1
    soft = alpha_of(Region(mask=mask_text(Image.new("L", (8, 8), 51))), (64, 64))
    assert soft == pytest.approx(0.2)


def test_a_thin_stroke_changes_in_full_at_its_middle_also_beside_a_wide_one() -> None:
    pixels = np.zeros((512, 512), "uint8")
    pixels[50:250, 100:300] = 255
    pixels[440:447, 20:400] = 255  # less than half as wide as the edge on both sides
    alpha = alpha_of(Region(mask=mask_text(Image.fromarray(pixels))), (512, 512))
    assert alpha[150, 200] == alpha[443, 200] == 1 and 0 < alpha[440, 200] < alpha[441, 200] < 1


def test_every_cell_with_a_pixel_that_may_change_is_sampled() -> None:
    alpha = np.zeros((64, 64), np.float32)
    alpha[7, 8] = 0.01
    cells = cells_of(alpha, 8, 8)
    assert cells.sum() == 1 and cells[0, 1]


@pytest.mark.parametrize(
    ("verdict", "way", "boxes"),
    [
        (wrong("a", seen=(Evidence("a", LEFT),)), "whole", None),
        (wrong("a", seen=(Evidence("a", LEFT),)), "auto", (LEFT,)),
        (wrong("a", "b", seen=(Evidence("a", LEFT),)), "auto", None),
        (wrong("a", "b", seen=(Evidence("a", LEFT),)), "regions", (LEFT,)),
        (wrong("a", "b", seen=(Evidence("a", LEFT), Evidence("b", RIGHT))), "auto", (LEFT, RIGHT)),
        (wrong("wrong style"), "regions", None),
        (wrong("a", seen=(Evidence("a", (0.0, 0.0, 1.0, 0.9)),)), "auto", None),
        (wrong("missing a cup"), "auto", None),
        (wrong("missing a cup", seen=(Evidence("dog", LEFT),)), "auto", ((0.4, 0.0, 1.0, 1.0),)),
        (Verdict(1.0, True), "regions", None),
        (Verdict.unjudged("no answer"), "regions", None),
    ],
)
def test_faults_with_a_place_are_mended_there(
    verdict: Verdict, way: str, boxes: tuple[Box, ...] | None
) -> None:
    region = region_of(verdict, way)
    assert (region.boxes if region else None) == boxes
    mask = drawn()
    assert region_of(verdict, way, mask) == Region(mask=mask)


@pytest.mark.parametrize(
    ("words", "inside"),
    [
        ("left of", (0.0, 0.0, 0.6, 1.0)),
        ("right of", (0.6, 0.0, 1.0, 1.0)),
        ("above", (0.0, 0.0, 1.0, 0.6)),
        ("below", (0.0, 0.6, 1.0, 1.0)),
    ],
)
def test_a_free_place_is_on_the_side_that_is_asked_for(words: str, inside: Box) -> None:
    dog = (0.5, 0.5, 0.7, 0.7)
    place = free_place([dog], f"missing a cup {words} the dog", [dog])
    assert place and all(a >= b - 1e-9 for a, b in zip(place[:2], inside[:2], strict=True))
    assert all(a <= b + 1e-9 for a, b in zip(place[2:], inside[2:], strict=True))
    left, top, right, bottom = place
    assert left >= dog[2] or right <= dog[0] or top >= dog[3] or bottom <= dog[1]
    assert free_place([(0.05, 0.05, 0.95, 0.95)], "missing a cup") is None


def test_a_free_place_beside_a_crowd_is_found_at_once() -> None:
    corners = [(i * 37 % 89 / 100, i * 53 % 97 / 110) for i in range(48)]
    crowd = [(x, y, x + 0.05, y + 0.05) for x, y in corners]
    began = process_time()
    place = free_place(crowd, "missing a dog")
    assert process_time() - began < 5  # to try every rectangle took most of a minute
    assert place is not None
    left, top, right, bottom = place
    assert not any(b[0] < right and left < b[2] and b[1] < bottom and top < b[3] for b in crowd)


def test_a_thing_in_the_wrong_place_has_its_old_and_a_new_one() -> None:
    cup, dog = (0.6, 0.4, 0.8, 0.6), (0.3, 0.4, 0.5, 0.6)
    fault = "cup is not left of the dog"
    region = region_of(wrong(fault, seen=(Evidence(fault, cup), Evidence("dog", dog))), "auto")
    assert region and region.boxes[0] == cup and region.boxes[1][2] <= 0.4


def test_what_was_met_and_is_not_is_broken() -> None:
    before = wrong("x", a=1.0, b=0.2)
    assert broken_by(before, wrong("y", a=0.1, b=0.9)) == ("a",)
    assert broken_by(before, wrong("y", a=0.9, b=0.1)) == ()
    assert broken_by(before, Verdict(1.0, True)) == ()
    assert broken_by(before, Verdict.unjudged("no answer")) == ()
    assert broken_by(wrong("x"), wrong("y")) == ("y",)
    assert broken_by(wrong("x", "y"), wrong("z")) == ()  # fewer faults, though another one


class PlacedVerifier(ToyVerifier):
    """Sees each fault on the left; even pictures meet a requirement that odd ones do not."""

    def verify(self, prompt: str, images: Any, progress: Any = SILENT) -> list[Verdict]:
        found = super().verify(prompt, images)
        met = [float(sum(image.tobytes()) % 2 == 0) for image in images]
        return [
            replace(
                v,
                passed=False,
                unmet=("x",),
                aspects={"even": m, "x": 0.0},
                evidence=(Evidence("x", LEFT),),
            )
            for v, m in zip(found, met, strict=True)
        ]


class KeepingCorrector:
    """A toy painter with latents that say how many times they were handed on."""

    def __init__(self, toy: Any) -> None:
        self.toy, self.steps = toy, toy.steps

    def paint(self, requests: Any, progress: Any = SILENT) -> list[Image.Image]:
        return self.toy.paint(requests)

    def paint_with_latents(self, requests: Any, progress: Any = SILENT) -> list[Painted]:
        turns = [(r.parent.latents if r.parent else None) or b"" for r in requests]
        return [Painted(i, t + b"+") for i, t in zip(self.paint(requests), turns, strict=True)]


class KeepingGenerator(ToyGenerator):
    def paint_with_latents(self, requests: Any, progress: Any = SILENT) -> list[Painted]:
        return [Painted(image, b"+") for image in self.paint(requests)]


class PassingNowAndThen(PlacedVerifier):
    def verify(self, prompt: str, images: Any, progress: Any = SILENT) -> list[Verdict]:
        found = super().verify(prompt, images)
        lucky = [self.items % 5 == i for i in range(len(found))]
        return [replace(v, passed=p, unmet=v.unmet[p:]) for v, p in zip(found, lucky, strict=True)]


class Listening(TemplateWriter):
    def __init__(self) -> None:
        self.asked: list[Request] = []

    def reflect(self, prompt: str, requests: Any, progress: Any = SILENT) -> list[str]:
        self.asked.extend(requests)
        return super().reflect(prompt, requests)


def toys() -> Actors:
    actors = replace(Toys().actors(), verifier=PlacedVerifier())
    return replace(
        actors,
        generator=KeepingCorrector(actors.generator),
        corrector=KeepingCorrector(actors.corrector),
    )


def searched(settings: SearchSettings, actors: Actors | None = None) -> History:
    *_, history = search("two green bowls", settings, actors or toys())
    return history


@pytest.mark.parametrize("how", [{"correct": "regions"}, {"mask": drawn((8, 8))}])
def test_a_search_in_places_changes_nothing_else_and_resumes_byte_for_byte(
    how: dict, tmp_path: Path
) -> None:
    settings = SearchSettings(width=2, depth=4, seed=1, accept="unbroken", **how)
    whole = searched(settings)
    corrections = [c for c in whole if c.parent]
    for each in corrections:
        assert each.region and each.parent
        free = alpha_of(each.region, each.image.size) == 0
        assert free.any()
        pair = (np.asarray(c.image)[free] for c in (each.parent, each))
        assert (next(pair) == next(pair)).all()
        assert each.latents == (each.parent.latents or b"") + b"+"
    assert any(each.broken for each in corrections)
    assert not any(each.parent.broken for each in corrections if each.parent)
    lines = []
    for name, stops in (("at once", [len(whole)]), ("in parts", [3, 5, len(whole)])):
        for count in stops:
            with open_archive(tmp_path / name, resume=count != stops[0]) as archive:
                archive.begin(Run("two green bowls", settings))
                for step in search("two green bowls", settings, toys(), archive.history):
                    archive.append(step)
                    if len(step) == count:
                        break
        folder = tmp_path / name
        lines.append((folder / "history.jsonl").read_bytes())
        assert len([*folder.glob("latents/*.safetensors")]) == len(whole)
    assert lines[0] == lines[1]
    (folder / "latents" / "round-000-000.safetensors").write_bytes(b"damaged")
    with (
        pytest.raises(InputError, match="does not match its checksum"),
        open_archive(folder, resume=True),
    ):
        pass


class Silent:
    def answer(self, pause: Pause, progress: Progress = SILENT) -> Feedback:
        return pause.unchanged


@pytest.mark.parametrize("how", [{"correct": "regions"}, {"mask": drawn((8, 8))}])
def test_a_person_who_says_nothing_changes_neither_places_nor_what_writers_are_told(
    how: dict,
) -> None:
    settings, made = SearchSettings(width=1, depth=5, seed=1, accept="unbroken", **how), []
    for play in (search, partial(search_with_pauses, person=Silent())):
        listening = Listening()
        actors = replace(toys(), writer=listening)
        *_, history = play("two green bowls", settings, actors)
        pictures = [(c.region, c.broken, c.reflection, c.image.tobytes()) for c in history]
        asked = [(r.prompt, r.region, r.broken) for r in listening.asked]
        made.append((pictures, asked))
    assert made[0] == made[1]
    assert any(broken for *_, broken in made[0][1])


@pytest.mark.parametrize("how", [{"correct": "regions"}, {"mask": drawn((8, 8))}])
def test_what_scouts_paint_to_its_end_keeps_the_picture_around_its_places(how: dict) -> None:
    settings = SearchSettings(width=2, depth=60, seed=1, strategy="scouts", **how)
    toys = Toys(KeepingGenerator(), PassingNowAndThen())
    finished = [c for c in searched(settings, toys.actors()) if c.action in (FINISH, WHOLE)]
    kept = [(c, c.region, next(p for p in c.lineage[-2::-1] if p.finished)) for c in finished]
    assert {c.action for c, region, _ in kept if region} == {FINISH, WHOLE}
    for each, region, around in kept:
        if region is None:  # it began anew
            continue
        free = alpha_of(region, each.image.size) == 0
        assert free.any() and each.latents is None  # they would not be those of the pixels
        pair = (np.asarray(c.image)[free] for c in (around, each))
        assert (next(pair) == next(pair)).all()


def test_joined_regions_cover_what_each_of_them_covers() -> None:
    corner = mask_text(Image.fromarray(np.pad(np.full((8, 8), 255, "uint8"), ((0, 24), (0, 24)))))
    regions = [Region((LEFT,)), Region((RIGHT,), drawn()), Region(mask=corner, said=True)]
    both = joined(regions)
    assert both.said and both.boxes == (LEFT, RIGHT)
    covered = [alpha_of(region, (64, 64)) > 0 for region in regions]
    assert ((alpha_of(both, (64, 64)) > 0) == np.any(covered, axis=0)).all()
    assert joined(regions[:1]) == regions[0]


def test_sheet_page_and_text_show_where_and_what_was_broken() -> None:
    history = searched(SearchSettings(depth=3, seed=1, correct="regions", accept="unbroken"))
    settings = SearchSettings(depth=3, correct="regions", accept="unbroken")
    page = html_page(history, "two green bowls", settings)
    assert 'class="changed"' in page and "Broke" in page and "at the left" in page
    assert "corrects in regions" in page and "accepts unbroken" in page
    assert "not accepted, it broke: even" in history_text(history)
    plain = replace(history.rounds[1][0], region=None)
    shown = History((history.rounds[0], (history.rounds[1][0],)))
    without = History((history.rounds[0], (plain,)))
    sheets = [np.asarray(contact_sheet(h, "x")) for h in (shown, without)]
    assert sheets[0].shape != sheets[1].shape or (sheets[0] != sheets[1]).any()


def test_the_next_writer_is_told_what_was_broken() -> None:
    listening = Listening()
    asked, actors = listening.asked, replace(toys(), writer=listening)
    settings = SearchSettings(width=1, depth=5, seed=1, correct="regions", accept="unbroken")
    history = searched(settings, actors)
    told = [request.broken for request in asked]
    broke = [c.broken for c in history if c.parent]
    assert ("even",) in broke and told[broke.index(("even",)) + 1] == ("even",)
    assert told[0] == () and broken_before(asked[0]) == ""
    assert ">even<" in broken_before(asked[broke.index(("even",)) + 1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategy": "noise", "correct": "regions"}, "correct is about corrections"),
        ({"axes": ("noise",), "accept": "unbroken"}, "accept is about corrections"),
        ({"mask": drawn(), "correct": "regions"}, "With a mask"),
        ({"recheck": True, "accept": "unbroken"}, "recheck skips"),
        ({"mask": mask_text(Image.new("L", (8, 8)))}, "black all over"),
        ({"mask": "no picture"}, "PNG"),
        ({"correct": "somewhere"}, "no way to correct"),
    ],
)
def test_what_has_no_effect_is_refused(given: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        searched(SearchSettings(**given))


def test_flux_keeps_the_parents_own_latents_outside_and_paints_the_same_without_a_region(
    tmp_path: Path,
) -> None:
    generator, corrector = load_miniature()
    prompt = "a photo of a red circle and a blue square"
    (draft,) = generator.paint_with_latents([Request(3, prompt)])
    assert draft.image == generator.paint([Request(3, prompt)])[0]
    parent = Candidate(draft.image, prompt, 3, Verdict(0.0), latents=draft.latents)
    request = Request(5, prompt, parent, "remove the red circle", corrects=True)
    places = replace(request, region=Region((LEFT,)))
    two = replace(request, region=Region((LEFT, RIGHT)))
    plain, placed, both = corrector.paint_with_latents([request, places, two])
    assert np.allclose(np.asarray(plain.image), np.asarray(corrector.paint([request])[0]), atol=1)
    before = read_latents(draft.latents, (16, 8, 8))
    assert before is not None
    for painted, region in ((placed, places.region), (both, two.region)):
        assert region
        sampled = torch.from_numpy(cells_of(alpha_of(region, (64, 64)), 8, 8))
        after = read_latents(painted.latents, (16, 8, 8))
        assert after is not None and torch.equal(after[:, ~sampled], before[:, ~sampled])
        assert not torch.allclose(after[:, sampled], before[:, sampled])
    strange = replace(parent, latents=written(torch.zeros(16, 4, 4)))  # of another size
    fresh = corrector.paint([replace(places, parent=strange)])
    assert fresh == corrector.paint([replace(places, parent=replace(parent, latents=None))])
    assert isinstance(corrector, FluxCorrector) and isinstance(corrector, LatentKeeping)
    mask = Image.fromarray(np.full((64, 32), 255, "uint8"))
    canvas = Image.new("L", (64, 64))
    canvas.paste(mask, (0, 0))
    canvas.save(tmp_path / "mask.png")
    out = tmp_path / "run"
    options = ["--strategy", "reflection", "--width", "1", "--depth", "1", "--seed", "3"]
    assert (
        main(["run", prompt, "--out", str(out), "--mask", str(tmp_path / "mask.png"), *options])
        == 0
    )
    with open_archive(out, resume=True) as archive:
        draft_, child = archive.history
        assert child.region and child.region.mask == mask_text(canvas)
        pair = [np.asarray(c.image)[:, 32:] for c in (draft_, child)]
        assert (pair[0] == pair[1]).all()


def test_the_exact_verifier_answers_each_requirement() -> None:
    (verdict,) = ExactVerifier().verify("a red circle", [Image.new("RGB", (64, 64), "white")])
    there, red, nothing_else = verdict.aspects.values()
    assert (there, red, nothing_else) == (0, 0, 1)  # what is missing has no colour
