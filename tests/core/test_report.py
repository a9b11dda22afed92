"""The contact sheet and the page, for searches of every shape and texts of every kind."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from types import MappingProxyType

import pytest
from PIL import Image

from reflectionflow_core.evidence import Evidence
from reflectionflow_core.feedback import Feedback
from reflectionflow_core.record import (
    SHARED,
    Candidate,
    Cost,
    History,
    Neighbour,
    Stage,
    Verdict,
)
from reflectionflow_core.report import as_data, contact_sheet, cost_text, html_page, settings_text
from reflectionflow_core.report.chart import score_chart
from reflectionflow_core.report.layout import columns
from reflectionflow_core.report.lettering import lettered, wrapped
from reflectionflow_core.report.sheet import Cell, heading, path
from reflectionflow_core.report.words import ended_text, history_text
from reflectionflow_core.settings import Budget, SearchSettings
from reflectionflow_core.verdict import Trust

PROMPT = "a red circle left of a blue square"
GOLD, RED = (0xC5, 0x8A, 0x1B), (0xB0, 0x45, 0x2C)
NASTY = "<script>alert('1')</script> & \"quotes\" \ud800 \x00 — 红色的圆 😀 é \u202e" + "x" * 300


def candidate(score: float, parent=None, size=(16, 16), prompt=PROMPT, text="") -> Candidate:
    verdict = Verdict(score, score > 0.8, MappingProxyType({"presence": score}), ("not red",), text)
    reflection = text or "turn it red"
    image = Image.new("RGB", size, "#3b62d2")
    return Candidate(image, prompt, 7, verdict, reflection if parent else "", parent)


def made(width=2, depth=2, drafts=None, best_parent=False, **looks) -> History:
    """A history whose best picture is the last of its first chain."""
    first = [candidate(0.1 + 0.01 * i, **looks) for i in range(drafts or width)]
    chains = [[draft] for draft in (first * width)[:width]]
    history = History().extended(0, tuple(first))
    for index in range(1, depth + 1):
        for i, chain in enumerate(chains):
            parent = chain[0] if best_parent else chain[-1]
            chain.append(candidate(0.2 + 0.01 * index - 0.001 * i, parent, **looks))
        history = history.extended(index, tuple(chain[-1] for chain in chains))
    spent = Cost(len(history), 4 * len(history), 2, MappingProxyType({"draft": 1.5}))
    return history.charged(spent)


def colours(image: Image.Image) -> dict:
    """How many pixels there are of each colour."""
    return {colour: count for count, colour in image.getcolors(image.width * image.height) or ()}


@pytest.mark.parametrize(
    "shape",
    [
        {"width": 1, "depth": 0},
        {"width": 16, "depth": 16},
        {"width": 2, "depth": 3, "drafts": 7},
        {"width": 3, "depth": 1, "drafts": 2},
        {"width": 2, "depth": 4, "best_parent": True},
        {"width": 20, "depth": 0},
        {"width": 40, "depth": 30},
        {"size": (1, 1)},
        {"size": (500, 20)},
        {"size": (20, 900)},
        {"prompt": NASTY, "text": NASTY},
    ],
    ids=str,
)
def test_a_search_of_any_shape_has_a_sheet_that_shows_its_best(shape):
    sheet = contact_sheet(made(**shape), shape.get("prompt", PROMPT), SearchSettings(), "toy")
    assert sheet.width >= 640
    assert sheet.width * sheet.height < 60_000_000
    assert GOLD in colours(sheet)


def test_a_small_picture_keeps_its_pixels():
    image = Image.new("RGB", (2, 2), "#ff0000")
    image.putpixel((1, 1), (0, 255, 0))
    history = History().extended(0, (Candidate(image, PROMPT, 1, Verdict(1.0)),))
    shown = colours(contact_sheet(history, PROMPT))
    assert shown[(255, 0, 0)] == 3 * shown[(0, 255, 0)] > 1000


def test_drafts_stand_before_the_chains_they_begin():
    drafts = tuple(candidate(score) for score in (0.1, 0.5, 0.9, 0.2))
    first = (candidate(0.6, drafts[2]), candidate(0.7, drafts[1]))
    laid, left_out = columns(History().extended(0, drafts).extended(1, first))
    assert [column.cells for column in laid] == [
        (drafts[0], drafts[3]),
        (drafts[2], drafts[1]),
        first,
    ]
    assert left_out == 0


def test_a_sheet_that_leaves_pictures_out_keeps_the_best_one():
    history = made(width=40, depth=30)
    laid, left_out = columns(history)
    shown = [c for column in laid for c in column.cells if c]
    assert left_out == len(history) - len(shown) > 0
    assert history.best in shown


def excluded_best() -> History:
    history = made(width=30, depth=1)
    number = list(history).index(history.best)
    return history.answered(Feedback(len(history), vetoed=(number,)))


def doubted_best() -> History:
    """Its judge is known to err: the picture of the highest score is likely to be wrong."""
    sure = replace(candidate(0.3), verdict=Verdict(0.3, True, trust=Trust(0.97)))
    doubted = replace(candidate(0.9), verdict=Verdict(0.9, False, trust=Trust(0.1)))
    return History(((doubted, sure),))


def equal_but_surer() -> History:
    """The last of 100 equal drafts is the one that its judge is surest of."""
    drafts = [candidate(0.5) for _ in range(100)]
    seen = replace(drafts[-1].verdict, evidence=(Evidence("thing", sureness=0.9),))
    return History(((*drafts[:-1], replace(drafts[-1], verdict=seen)),))


@pytest.mark.parametrize("case", [excluded_best, doubted_best, equal_but_surer])
def test_whatever_calls_a_picture_the_best_goes_by_exclusions_and_trust_as_the_history_does(case):
    history = case()
    best = f"{history.best.score:.3f}"
    assert history.ranked[0] is history.best
    laid, _ = columns(history)
    shown = {c for column in laid for c in column.cells}
    assert history.best in shown and f"best {best}" in [column.note for column in laid]
    assert f"The best of {len(history)} pictures: {best}" in score_chart(history)
    choice = re.search(r"<nav .*?<span>([\d.]+)</span>", html_page(history, PROMPT), re.DOTALL)
    assert choice and choice[1] == best


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_tells_every_candidate_and_fetches_nothing():
    history = made(width=2, depth=2)
    text = html_page(history, PROMPT, SearchSettings(), "toy")
    page = Page(text)
    assert len(page.all("article")) == 6
    images = page.all("img")
    assert len(images) == 6 + 6 + 2  # cards, choices, and on top the best beside its parent
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert [PROMPT in image["alt"] for image in images].count(True) == 6 + 2
    assert not re.search(r"https?://|<link|@import|url\(", text)
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in text and f"script-src 'sha256-{digest}'" in text
    assert "prefers-color-scheme: dark" in text
    for text in ("turn it red", "not red", "presence", "VLM calls", "strategy reflection"):
        assert text in page.text


def test_every_link_of_the_page_leads_somewhere():
    page = Page(html_page(made(width=3, depth=2, drafts=5), PROMPT))
    there = {attributes["id"] for attributes in page.all("article")}
    assert {link["href"].removeprefix("#") for link in page.all("a")} <= there


def test_nothing_that_a_model_says_becomes_markup():
    text = html_page(made(prompt=NASTY, text=NASTY), NASTY, None, "<b>model</b>")
    page = Page(text)
    assert "b" not in {tag for tag, _ in page.tags} and len(page.all("script")) == 1
    assert "<script>alert('1')</script>" in page.text


def test_a_large_picture_is_shrunk_for_the_page():
    history = made(width=1, depth=0, size=(2000, 1000))
    page = html_page(history, PROMPT)
    assert "data:image/jpeg" in page
    assert len(page) < 60_000


def test_an_empty_history_has_nothing_to_show():
    for show in (contact_sheet, html_page):
        with pytest.raises(ValueError, match="empty history"):
            show(History(), PROMPT)


@pytest.mark.parametrize("text", ["", " ", NASTY, "word " * 900, "中文" * 90, "a\nb\tc"])
def test_lines_fit_their_width(text):
    lines, font = wrapped(text, 14, 120, 3)
    assert len(lines) <= 3
    assert all(font.getlength(line) <= 120 for line in lines)


def test_the_name_of_a_file_is_cut_after_a_mark():
    lines, _ = wrapped("a_poster_that_is_right.png", 14, 120, 3)
    assert lines[0][-1] == "_" and "".join(lines) == "a_poster_that_is_right.png"


def test_letters_that_no_font_has_lose_their_accent_or_stay():
    text, _ = lettered("plain \u2013 text", 14)
    assert text in ("plain - text", "plain \u2013 text")


def test_words_of_cost_and_settings():
    cost = Cost(1, 28, 0, MappingProxyType({"draft": 3.25}))
    assert cost_text(cost) == "1 picture, 28 steps, 3.2 s"
    assert "1 h 1 min" in cost_text(Cost(2, 2, 1, MappingProxyType({"draft": 3660.0})))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"width": 1, "depth": 4}, "reflection · 1 chain · 4 rounds · seed 0"),
        ({"stop": 0.5, "seed": 3}, "reflection · 2 chains · up to 3 rounds · seed 3 · stop at 0.5"),
        ({"drafts": 5, "depth": 0}, "reflection · 5 drafts · seed 0"),
        ({"parents": "best"}, "reflection · 2 chains · 3 rounds · best parents · seed 0"),
        (
            {"axes": ("reflection",), "draft_prompt": "x", "recheck": True},
            "reflection · 2 chains · 3 rounds · without noise and prompt · recheck · "
            "with a draft prompt · seed 0",
        ),
        (
            {"strategy": "noise", "noise_search": "zero_order"},
            "noise · 2 pictures a round · 3 rounds · zero-order noise, radius 0.3 · seed 0",
        ),
        (
            {"strategy": "adaptive", "policy": "restart", "parents": "best"},
            "adaptive · up to 2 chains · up to 3 rounds · policy restart · seed 0",
        ),
        ({"strategy": "adaptive", "depth": 0}, "adaptive · 1 draft · seed 0"),
        (
            {"strategy": "potential", "budget": Budget(images=9, seconds=90)},
            "potential · the steps of 2 pictures a round · up to 3 rounds · seed 0 "
            "· at most 9 pictures, 1 min 30 s",
        ),
        (
            {"strategy": "paths", "noise_search": "zero_order"},
            "paths · 2 pictures a round · 3 rounds · seed 0",
        ),
        (
            {"strategy": "staged", "stages": (Stage("a", "b"),)},
            "staged · 2 chains · up to 3 rounds · 1 stage · seed 0",
        ),
        (
            {"strategy": "interleaved", "draft_prompt": "x", "depth": 1},
            "interleaved · 2 chains · 1 round · seed 0",
        ),
        (
            {"strategy": "in-context", "context": 5},
            "in-context · 2 chains · 3 rounds · context 5 · seed 0",
        ),
    ],
)
def test_a_strategy_is_described_by_the_settings_that_it_reads(settings, text):
    assert settings_text(SearchSettings(**settings), "toy") == f"strategy {text} · model toy"


def test_a_long_line_of_settings_is_wrapped_and_not_cut_off():
    settings = SearchSettings(
        strategy="in-context",
        axes=("reflection",),
        drafts=3,
        parents="best",
        noise_search="zero_order",
        recheck=True,
        context=5,
        draft_prompt="x",
        stop="passed",
        budget=Budget(1_000_000, 1_000_000, 100_000, 1_000_000),
    )
    for model in ("toy", "a/folder/" * 20):
        notes = [settings_text(settings, model), "saved in output/run"]
        head = heading(made(width=1, depth=0), PROMPT, notes, 560)
        text = "".join(line.text for line in head).replace(" ", "")
        assert all(note.replace(" ", "") in text for note in notes)


def test_a_neighbouring_seed_is_told_in_full():
    image = Image.new("RGB", (8, 8))
    seed = Neighbour(Neighbour(1, 2, 0.5), 3, 0.25)
    history = History().extended(0, (Candidate(image, PROMPT, seed, Verdict(1.0)),))
    assert "1 + 0.5 towards 2 + 0.25 towards 3" in html_page(history, PROMPT)


def test_a_history_becomes_data_that_json_holds_and_that_names_every_parent():
    history, settings = made(width=2, depth=2, drafts=3), SearchSettings(width=2, drafts=3)
    data = json.loads(json.dumps(as_data(history, PROMPT, settings, "toy")))
    assert data["prompt"] == PROMPT and data["settings"]["drafts"] == 3
    assert [c["parent"] for c in data["candidates"]] == [None, None, None, 0, 1, 3, 4]
    assert [c["round"] for c in data["candidates"]] == [0, 0, 0, 1, 1, 2, 2]
    assert data["candidates"][data["best"]]["score"] == history.best.score
    assert data["cost"] == {"images": 7, "steps": 28, "vlm_calls": 2, "seconds": {"draft": 1.5}}
    assert as_data(History(), "nothing")["best"] is None


def test_every_picture_has_one_line_whatever_a_person_wrote():
    history = made(text="turn it red,\n\nand move it")
    lines = history_text(history).splitlines()
    assert len(lines) == len(history)
    assert "turn it red, and move it → " in lines[-1]


def test_a_preview_is_faded_and_has_no_mark_whatever_its_verdict():
    plain = candidate(0.5)
    first = replace(plain, verdict=replace(plain.verdict, unmet=()))
    for passed in (True, False, None):
        verdict = replace(first.verdict, passed=passed)
        preview = replace(first, verdict=verdict, parent=first, finished=False)
        history = History().extended(0, (first,)).extended(1, (preview,))
        shown = colours(contact_sheet(history, PROMPT))
        assert shown[(0x3B, 0x62, 0xD2)] == shown[(0xAE, 0xBD, 0xE8)] > 1000
        assert RED not in shown and (0x2F, 0x7D, 0x4F) not in shown
        page = html_page(history, PROMPT)
        assert page.count("class=faded") == 1
        assert "✓ passed" not in page.partition("<script>")[0]
        assert "Action" not in Page(page).text


def test_arrows_of_two_rows_into_a_third_do_not_run_together():
    """One goes past a column, the other to the next one; each is seen at its own place."""
    drafts = (candidate(0.5), candidate(0.4))
    first = (candidate(0.3, drafts[0]), candidate(0.3, drafts[1]))
    second = (candidate(0.3, drafts[0]), candidate(0.3, drafts[1]), candidate(0.3, drafts[0]))
    history = History().extended(0, drafts).extended(1, first).extended(2, second)
    laid, _ = columns(history)
    cells = [
        Cell(candidate, (), row, x * 300, row * 300)
        for x, column in enumerate(laid)
        for row, candidate in enumerate(column.cells)
        if candidate
    ]
    at = {id(cell.candidate): cell for cell in cells}
    upright = {
        (cell.row, x)
        for cell in cells
        if cell.candidate.parent
        for (x, y), (other, below) in pairwise(
            path(at[id(cell.candidate.parent)], cell, (252, 252))
        )
        if x == other and y != below
    }
    starts = [{x for row, x in upright if row == wanted and x < 300} for wanted in range(3)]
    assert starts[0] == starts[2] and starts[0].isdisjoint(starts[1])


def test_of_equal_pictures_the_one_that_its_judge_is_surer_of_is_the_best():
    def seen(*sure):
        evidence = tuple(Evidence(f"thing {i}", sureness=each) for i, each in enumerate(sure))
        return replace(candidate(1.0), verdict=Verdict(1.0, True, evidence=evidence))

    unsure, sure, later = seen(0.9, 0.4), seen(0.7, 0.8), seen(0.7, 0.7)
    assert History(((unsure, sure, later),)).best is sure
    first, second = seen(), seen()
    assert History(((first, second),)).best is first
    assert History(((sure, replace(unsure, verdict=Verdict(1.1))),)).best.score == 1.1


@pytest.mark.parametrize(
    ("settings", "rounds", "text"),
    [
        ({}, 4, "Complete, after round 3."),
        ({"stop": "passed"}, 2, "Ended after round 1 of 3: a picture passed."),
        ({"stop": 0.9}, 2, "Ended after round 1 of 3: the score 0.9 was reached."),
        ({"budget": Budget(images=4)}, 2, "Ended after round 1 of 3: the budget of pictures is"),
        (
            {"budget": Budget(steps=17)},
            2,
            "Not complete: after round 1 of 3.",
        ),  # as far as is known
        ({"ended": "steps"}, 2, "Ended after round 1 of 3: the budget of steps is used up."),
        ({"ended": SHARED}, 2, "Ended after round 1 of 3: the budget of all prompts is used up."),
        ({"ended": SHARED, "stop": "passed"}, 2, "Ended after round 1 of 3: a picture passed."),
        ({}, 1, "Not complete: after the drafts, before 3 rounds."),
        ({"depth": 0}, 1, "Complete, after the drafts."),
        ({"strategy": "adaptive", "drafts": 2}, 2, "Ended after round 1 of 3: a picture passed."),
        ({"width": 5}, 2, ""),
    ],
)
def test_a_sheet_says_how_far_the_search_came_and_why_it_ended(settings, rounds, text):
    settings = {**settings}
    history = replace(made(width=2, depth=rounds - 1), ended=settings.pop("ended", ""))
    if {"stop", "strategy"} & {*settings}:
        last = replace(history.rounds[-1][0], verdict=Verdict(1.0, True))
        history = replace(history, rounds=(*history.rounds[:-1], (last, history.rounds[-1][1])))
    assert ended_text(history, SearchSettings(**settings)).startswith(text)
    assert bool(ended_text(history, SearchSettings(**settings))) == bool(text)


def test_a_picture_of_another_search_is_a_parent_too():
    parent = candidate(0.2)
    history = History(((candidate(0.9, parent),), (candidate(0.5, parent),)))
    assert "another search" in Page(html_page(history, PROMPT)).text
    assert contact_sheet(history, PROMPT).width >= 640
    assert [c["parent"] for c in as_data(history, PROMPT)["candidates"]] == [None, None]
