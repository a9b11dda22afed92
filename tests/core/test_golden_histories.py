"""Searches paint, judge and record what they did before the core was rebuilt."""

from __future__ import annotations

import json

import pytest
from golden_histories import FILE, Case, cases, played, shortened

GOLDEN = json.loads(FILE.read_text("utf-8"))
CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_search_ends_in_its_golden_history(case: Case) -> None:
    full = played(case)
    # The whole record is compared first where the file has only its digest, to show in a failure.
    assert json.loads(json.dumps(shortened(case, full))) == GOLDEN[case.name], full


def test_every_golden_history_belongs_to_a_case() -> None:
    assert GOLDEN.keys() == {case.name for case in CASES}
