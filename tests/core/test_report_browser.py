"""The report in a real browser: at three widths, by keyboard, without scripts, and in print."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from comfy_browser import FLAGS, find_browser
from comfy_server import NO_BROWSER, do_without
from fakes import toy_actors
from PIL import Image

from reflectionflow_core.cli.review import ReviewPage
from reflectionflow_core.evaluation.page import Section, results_page
from reflectionflow_core.evaluation.statistics import Estimate
from reflectionflow_core.evaluation.tables import Table
from reflectionflow_core.evidence import Evidence
from reflectionflow_core.feedback import Feedback
from reflectionflow_core.record import Candidate, Cost, History, Request, Verdict
from reflectionflow_core.report import html_page
from reflectionflow_core.report.overview import overview_page, row_of
from reflectionflow_core.search import Pause
from reflectionflow_core.settings import SearchSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HTML = "<img src=x onerror='window.broken = 1'> & \"quotes\" " + "x" * 400
WIDER = "() => document.documentElement.scrollWidth - innerWidth"
CLIPPED = "() => getComputedStyle(document.querySelector('.before .boxed')).clipPath"
ARABIC = "دائرة حمراء على يسار مربع أزرق"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        do_without(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield opened
        opened.close()


def painted(score: float | None, parent: Candidate | None, text: str) -> Candidate:
    if score is None:
        verdict = Verdict.unjudged(text)
    else:
        seen = (Evidence(text, (0.1, 0.1, 0.6, 0.6), 0.9),)
        verdict = Verdict(score, score == 1, MappingProxyType({text: score}), (text,), text, seen)
    image = Image.new("RGB", (160, 120), (80, 60, 120))
    return Candidate(image, text, 1, verdict, text if parent else "", parent)


def searched(text: str = "a red circle", drafts: int = 3, depth: int = 2, judged=True) -> History:
    first = tuple(painted(0.1 if judged else None, None, text) for _ in range(drafts))
    history, last = History().extended(0, first), first[:2]
    for number in range(1, depth + 1):
        last = tuple(painted(number / depth if judged else None, each, text) for each in last)
        history = history.extended(number, last)
    return history.charged(Cost(len(history), 9, 1, MappingProxyType({"draft": 1.0})))


def opened(browser: Browser, history: History, prompt: str, width: int = 1440, **looks) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, **looks)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.on("console", lambda said: pytest.fail(said.text))
    page.route(lambda address: address[:5] != "data:", lambda route: pytest.fail(route.request.url))
    page.set_content(html_page(history, prompt, SearchSettings(), judge="it sees"))
    return page


SHAPES = {
    "usual": (searched(), "a red circle"),
    "one": (searched(drafts=1, depth=0), "a red circle"),
    "32 drafts": (searched(drafts=32), "a red circle"),
    "7 rounds": (searched(depth=7), "a red circle"),
    "unjudged": (searched(judged=False), "a red circle"),
    "hostile": (searched(HTML), HTML),
    "arabic": (searched(ARABIC), ARABIC),
    "long": (searched("a red circle " * 300), "a red circle " * 300),
    "no parent": (History((searched().rounds[1],)), "a red circle"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_page_fits_every_width_in_light_and_dark(browser: Browser, shape: str) -> None:
    page = opened(browser, *SHAPES[shape], color_scheme="dark")
    papers = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (1440, 768, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(WIDER) <= 0, (scheme, width)
        papers.add(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2
    assert page.evaluate("() => window.broken") is None
    assert page.locator("article").count() == len(SHAPES[shape][0])
    page.close()


def test_pages_of_figures_and_of_many_prompts_fit_a_phone(browser: Browser) -> None:
    cells = tuple(Estimate(0.1 * i, 0.0, 1.0) for i in range(8))
    table = Table("Right pictures", tuple(map(str, range(8))), (("a", cells),), tuple(range(8)))
    study = Section("strategies", "Which is the best?", [table], b"no plot")
    rows = [row_of("a red circle " * 20, "001", searched())] * 2
    page = browser.new_page(viewport={"width": 390, "height": 900})
    for text in (results_page("Measured", ["x" * 500], [study]), overview_page(rows)):
        page.set_content(text)
        assert page.evaluate(WIDER) <= 0
        assert page.locator(".scroll").last.get_attribute("tabindex") == "0"
    page.close()


def test_the_slider_moves_by_keyboard_and_another_picture_is_a_click_away(browser: Browser) -> None:
    page = opened(browser, searched(), "a red circle")
    slider = page.get_by_role("slider", name="How much of the picture before is shown, in percent")
    slider.focus()
    page.keyboard.press("End")
    assert page.evaluate(CLIPPED).split()[1] == "0%"
    page.keyboard.press("Home")
    assert page.evaluate(CLIPPED).split()[1] == "100%"
    choices = page.get_by_role("navigation", name="Other pictures").get_by_role("link")
    assert choices.count() == 7
    choices.filter(has_text="round 1 no. 2").focus()
    page.keyboard.press("Enter")
    assert page.locator("#result").inner_text() == "Picture: round 1 no. 2"
    assert page.locator(".before figcaption").inner_text().startswith("Before: 0.100")
    choices.filter(has_text="draft 3").click()
    assert page.locator(".compare .before").count() == 0 and slider.count() == 0
    page.get_by_label("Boxes:").uncheck()
    assert not page.locator(".compare i").first.is_visible()
    page.close()


def test_chains_are_rows_on_wide_screens_and_steps_on_small_ones(browser: Browser) -> None:
    page = opened(browser, searched(), "a red circle")
    steps = page.get_by_role("list", name="Chain 1: 3 pictures, best 1.000").locator("article")
    wide = [steps.nth(i).bounding_box() or {} for i in range(3)]
    assert wide[0]["y"] == wide[2]["y"] and wide[0]["x"] < wide[1]["x"] < wide[2]["x"]
    page.set_viewport_size({"width": 390, "height": 900})
    small = [steps.nth(i).bounding_box() or {} for i in range(3)]
    assert small[0]["x"] == small[2]["x"] and small[0]["y"] < small[1]["y"] < small[2]["y"]
    assert max(box["height"] for box in small) < 260
    page.close()


def test_without_scripts_and_in_print_both_pictures_stand_side_by_side(browser: Browser) -> None:
    page = opened(browser, searched(), "a red circle", java_script_enabled=False)
    assert not page.locator(".compare input").is_visible()
    before, after = (page.locator(f".{name}").bounding_box() or {} for name in ("before", "after"))
    assert before["y"] == after["y"] and before["x"] + before["width"] <= after["x"]
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("nav").is_visible()
    assert page.locator("article").last.is_visible()
    assert page.pdf().startswith(b"%PDF")
    page.close()


def test_a_pause_is_answered_on_the_page_of_review(browser: Browser) -> None:
    said: list[Feedback] = []
    history = searched(depth=0)
    requests = tuple(Request(1, "a", c, "turn it red", corrects=True) for c in history)
    settings = SearchSettings(drafts=3, depth=1)
    pause = Pause("a red cube", settings, toy_actors(), history, requests)
    with ReviewPage(folder="runs/mugs") as review:
        review.state = lambda: "painting 3 of 12; 5 of 8 pictures"
        asked = threading.Thread(target=lambda: said.append(review.answer(pause)))
        asked.start()
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(review.address)
        panel = page.get_by_role("dialog").bounding_box() or {}
        assert (panel["width"], panel["height"]) == (390, 844)  # nothing shows beside it
        page.get_by_role("button", name="Winner").nth(2).click()
        page.reload()
        page.get_by_role("button", name="Go on with my choices").click()
        asked.join(20)
        page.get_by_text("painting 3 of 12; 5 of 8 pictures").wait_for()
    page.get_by_text("report.html are in runs/mugs").wait_for()
    page.close()
    assert [each.picked for each in said] == [2]
