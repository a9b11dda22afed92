"""Where a verifier sees its faults: the record, its words, and who reads it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from reflectionflow_core.archive.lines import entry_of, parse
from reflectionflow_core.evidence import Evidence, located, place_in_words, places_of
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.miniature.world import Thing, render
from reflectionflow_core.record import Candidate, Cost, History, Verdict
from reflectionflow_core.report import contact_sheet, html_page
from reflectionflow_core.verifiers.ensemble import EnsembleMember, EnsembleVerifier
from reflectionflow_core.verifiers.noisy import NoisyVerifier
from reflectionflow_core.writers.template import edit_for
from reflectionflow_core.writers.vlm import findings

DOG = Evidence("extra dog", (0.1, 0.2, 0.3, 0.6), 0.93)
WRONG = Verdict(0.5, False, unmet=("extra dog", "missing cat"), evidence=(DOG,))


def candidate(verdict: Verdict, size: tuple[int, int] = (200, 100)) -> Candidate:
    return Candidate(Image.new("RGB", size, "white"), "a cat", 3, verdict)


def test_a_box_in_pixels_becomes_fractions_and_goes_back() -> None:
    seen = Evidence.in_pixels("x", (20, 10, 60, 50), (200, 100), 0.5)
    assert seen.box == (0.1, 0.1, 0.3, 0.5)
    assert seen.pixels((200, 100)) == (20, 10, 60, 50)
    assert seen.pixels((100, 50)) == (10, 5, 30, 25)
    assert Evidence("x").pixels((9, 9)) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 8_000), (8_000, 5), (64, 64)])
def test_any_box_stays_inside_the_picture_and_keeps_a_pixel(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for box in rng.uniform(-2, 2, (200, 4)) * np.tile(size, 2):
        seen = Evidence.in_pixels("x", box.tolist(), size, 2.0)
        left, top, right, bottom = seen.pixels(size) or (0, 0, 0, 0)
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        assert seen.sureness == 1.0


@pytest.mark.parametrize(
    ("box", "sureness"),
    [((0.5, 0, 0.5, 1), None), ((0, 0, 1.1, 1), None), ((0, float("nan"), 1, 1), 0.5), (None, 1.5)],
)
def test_a_box_or_sureness_that_is_none_is_refused(box: object, sureness: float | None) -> None:
    with pytest.raises(ValueError, match="must be"):
        Evidence("x", box, sureness)  # pyright: ignore[reportArgumentType]


def test_places_in_words() -> None:
    assert place_in_words((0.0, 0.0, 0.2, 0.2)) == "at the top left"
    assert place_in_words((0.7, 0.4, 1.0, 0.6)) == "at the right"
    assert place_in_words((0.4, 0.4, 0.6, 0.6)) == "in the middle"
    assert place_in_words((0.4, 0.7, 0.6, 1.0)) == "at the bottom"
    assert place_in_words((0.1, 0.1, 0.9, 0.9)) == ""


def test_a_fault_with_its_places() -> None:
    expected = "extra dog (at the left, box 0.10, 0.20, 0.30, 0.60, 93 % sure)"
    assert located("extra dog", WRONG.evidence) == expected
    assert located("missing cat", WRONG.evidence) == "missing cat"
    assert places_of("extra dog", WRONG.evidence) == [DOG.box]
    assert findings(candidate(WRONG)) == f"{expected}; missing cat"


def test_a_fault_that_is_a_command_already_is_the_edit() -> None:
    command = 'replace the text "OPNE" by "OPEN" at the top left'
    assert edit_for(command) == command
    assert edit_for("missing dog") == "add dog"
    assert edit_for("addition is wrong") == "fix this: addition is wrong"


@pytest.mark.parametrize(
    ("unmet", "edit"),
    [
        ("cup is not red", "recolor the cup red"),
        ("the left cup is not dark blue", "recolor the left cup dark blue"),
        ("dog is not visible", "add the dog"),
        ("a red cup is not present", "add a red cup"),
        ("two cups are not there", "add two cups"),
        ("sign is not readable", "fix this: sign is not readable"),
        ("the table is not wooden", "fix this: the table is not wooden"),
        ("table is not a desk", "turn the table into a desk"),
        ("The table is not a desk", "turn the table into a desk"),
        ("There is not a desk", "add a desk"),
        ("The cup is missing.", "add the cup"),
        ("Missing: a cup", "add a cup"),
        ("an extra cup", "remove the cup"),
        ("cups aren't red", "recolor the cups red"),
        ("the cat is not to the left of the dog", "move the cat left of the dog"),
    ],
)
def test_only_a_colour_is_recoloured_and_what_is_not_seen_is_added(unmet: str, edit: str) -> None:
    assert edit_for(unmet) == edit


def test_a_line_of_the_history_keeps_evidence_and_older_lines_have_none() -> None:
    entry = entry_of(candidate(WRONG), 0, (0, 0), None, Cost())
    assert parse(entry.line()) == entry
    plain = entry_of(candidate(Verdict(0.5)), 0, (0, 0), None, Cost())
    assert "evidence" not in json.loads(plain.line())
    assert parse(plain.line()).verdict.evidence == ()


@pytest.mark.parametrize(
    "damaged",
    [
        "x",
        [1],
        [{"text": 1}],
        [{"text": "a", "box": [0, 0, 1]}],
        [{"text": "a", "sureness": "1"}],
        [{"text": "a", "box": [0, 0, 2, 1]}],
        [{"text": "a", "box": [0, 0, "1", 1]}],
    ],
)
def test_damaged_evidence_is_refused_with_the_reason(damaged: object) -> None:
    record = entry_of(candidate(WRONG), 0, (0, 0), None, Cost()).record() | {"evidence": damaged}
    with pytest.raises(ValueError, match=r"evidence|box|Box|text|sureness"):
        parse(json.dumps(record).encode())


def test_the_exact_verifier_gives_the_box_of_each_thing_right_or_wrong() -> None:
    scene = (Thing("circle", "red", 16, 20, 8), Thing("square", "blue", 45, 45, 10))
    (verdict,) = ExactVerifier().verify("a red circle", [Image.fromarray(render(scene))])
    seen, right = verdict.evidence
    assert seen.text == "extra blue square" and verdict.unmet == (seen.text,)
    assert right.text == "red circle" and right.pixels((64, 64)) == pytest.approx(
        (8, 12, 24, 28), abs=1
    )
    assert seen.pixels((64, 64)) == pytest.approx((36, 36, 54, 54), abs=1)
    (passed,) = ExactVerifier().verify("a red circle", [Image.fromarray(render(scene[:1]))])
    assert passed.passed and passed.unmet == () and set(passed.aspects.values()) == {1.0}


def test_joined_verifiers_keep_the_evidence_of_those_whose_faults_count() -> None:
    image = Image.fromarray(render((Thing("square", "blue", 45, 45, 10),)))
    exact = ExactVerifier()
    both = EnsembleVerifier([EnsembleMember("a", exact), EnsembleMember("b", ExactVerifier())])
    (alone,), (joined,) = (v.verify("a red circle", [image]) for v in (exact, both))
    assert joined.evidence == alone.evidence and alone.evidence
    (invented,) = NoisyVerifier(exact, 1.0, 0).verify("a blue square", [image])
    assert invented.unmet and not invented.evidence
    (hidden,) = NoisyVerifier(exact, 1.0, 0).verify("a red circle", [image])
    assert hidden.passed and not hidden.evidence


def test_page_and_sheet_draw_the_boxes() -> None:
    seen = Evidence("cat", (0.5, 0.5, 0.9, 0.9))
    verdict = Verdict(0.5, False, unmet=("extra <dog>",), evidence=(seen,))
    fault = Evidence("extra <dog>", (0.1, 0.2, 0.3, 0.6), 0.93)
    marked, plain = (
        History(((candidate(Verdict(0.5, False, unmet=("extra <dog>",), evidence=found)),),))
        for found in ((fault, *verdict.evidence), ())
    )
    page = html_page(marked, "a cat")
    assert 'class="fault" style="left:10%;top:20%;width:20%;height:40%"' in page
    assert 'title="extra &lt;dog&gt;, at the left, 93 % sure"' in page
    assert page.index('class="seen" style') < page.index('class="fault" style')
    assert 'class="fault" style' not in html_page(plain, "a cat")
    with_boxes, without = (np.asarray(contact_sheet(h, "a cat")) for h in (marked, plain))
    assert with_boxes.shape == without.shape
    changed = with_boxes[(with_boxes != without).any(-1)]
    assert {(176, 69, 44), (47, 125, 79)} <= set(map(tuple, changed.tolist()))
