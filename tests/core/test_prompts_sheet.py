"""Many prompts on one sheet: a row each, of many pictures the best, and what is not painted."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from fakes import picture

from reflectionflow_core.record import Candidate, Cost, History, Verdict
from reflectionflow_core.report.overview import row_of
from reflectionflow_core.report.prompts import ACROSS, prompts_sheet, shown_of
from reflectionflow_core.report.sheet import GOLD

PROMPTS = ("a red cube", "a sea at night", "a door")


def history(*scores: float) -> History:
    made = (
        Candidate(picture(bytes([40 + i]) * 192), "p", i, Verdict(score, score == 1.0))
        for i, score in enumerate(scores)
    )
    return History((tuple(made),), Cost(images=len(scores)))


def sheet(*histories: History, note: str = ""):
    rows = [
        row_of(p, str(i), one) for i, (p, one) in enumerate(zip(PROMPTS, histories, strict=False))
    ]
    return prompts_sheet(rows, histories, note)


def golden_rows(image) -> int:
    """How many frames around a best picture there are, one below the other."""
    gold = tuple(int(GOLD[i : i + 2], 16) for i in (1, 3, 5))
    pixels = image.load()
    rows = [
        sum(pixels[x, y] == gold for x in range(image.width)) > 100 for y in range(image.height)
    ]
    edges = sum(here and not before for before, here in pairwise([False, *rows]))
    return edges // 2


def test_every_prompt_has_a_row_with_its_best_in_a_frame() -> None:
    one = sheet(history(0.5, 1.0), history(0.2))
    two = sheet(history(0.5, 1.0), history(0.2), history(0.1, 0.3))
    assert two.height > one.height
    assert (golden_rows(one), golden_rows(two)) == (2, 3)


def test_a_prompt_that_was_not_painted_has_a_row_without_pictures() -> None:
    assert golden_rows(sheet(history(0.5), History())) == 1
    with pytest.raises(ValueError, match="no sheet"):
        sheet(History(), History())


def test_a_picture_that_could_not_be_judged_is_not_the_best() -> None:
    failed = history(0.5).rounds[0][0]
    unjudged = replace(failed, verdict=Verdict.unjudged("no answer"))
    assert golden_rows(sheet(history(0.5), History(((unjudged,),), Cost(images=1)))) == 1


def test_of_many_pictures_the_best_are_shown_in_the_order_of_painting() -> None:
    scores = (0.9, 0.1, 0.8, 0.0, 0.7, 0.6, 1.0, 0.5)
    shown = [candidate.score for _, candidate in shown_of(history(*scores))]
    assert shown == [0.9, 0.8, 0.7, 0.6, 1.0, 0.5] and len(shown) == ACROSS


def test_a_note_ends_the_heading() -> None:
    assert sheet(history(0.5), note="ended early").height > sheet(history(0.5)).height
