"""Strategies whose rounds have any size, and parents anywhere in the past."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import ToyGenerator, Toys, ToyVerifier, ToyWriter, examples, facts, read_back
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from reflectionflow_core.archive import Run, files, open_archive, read_recording
from reflectionflow_core.record import History, InputError, Request
from reflectionflow_core.report import as_data, contact_sheet, html_page
from reflectionflow_core.report.layout import columns, parents_elsewhere
from reflectionflow_core.search import STRATEGIES, is_over, run_round, search
from reflectionflow_core.search.seeds import fresh_seed
from reflectionflow_core.search.strategies import Strategy
from reflectionflow_core.search.strategies.reflection import Rounds
from reflectionflow_core.settings import AXES, Budget, SearchSettings

PROMPT = "two green bowls"
SETTINGS = SearchSettings(strategy="scripted", seed=3)

Move = tuple[int | None, str]  # the parent's number among all pictures before, and what is done
Script = Sequence[Sequence[Move]]

UNEVEN: Script = [
    [(None, "draft")] * 4,
    [(2, "correct")],
    [(0, "correct"), (4, "backtrack"), (2, "correct")],
    [],
    [(None, "never painted")],
]


@contextmanager
def scripted(script: Script) -> Iterator[None]:
    """While it lasts there is a strategy "scripted" that paints what the script says."""

    def plan(settings: SearchSettings) -> Rounds:
        past = History()
        for index, moves in enumerate(script):
            before = list(past)
            past = yield [
                Request(
                    fresh_seed(settings.seed, index, position),
                    parent=None if parent is None else before[parent],
                    corrects=action == "correct",
                    evolves=parent is not None,
                    action=action,
                )
                for position, (parent, action) in enumerate(moves)
            ]

    STRATEGIES["scripted"] = Strategy(plan, AXES)
    try:
        yield
    finally:
        del STRATEGIES["scripted"]


def steps(settings: SearchSettings, history: History | None = None) -> list[History]:
    toys = Toys(ToyGenerator(mates=True), ToyVerifier(pass_at=0.85), writer=ToyWriter(mates=True))
    return list(search(PROMPT, settings, toys.actors(), history or History()))


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Rounds of one to five pictures, from new noise or from any picture before."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    script: list[list[Move]] = []
    for index, size in enumerate(sizes):
        known = sum(sizes[:index])
        parents = st.none() | st.integers(0, known - 1) if known else st.none()
        moves = [(draw(parents), draw(st.sampled_from(["correct", "evolve"]))) for _ in range(size)]
        script.append([(p, "fresh" if p is None else action) for p, action in moves])
    return script


searches = st.builds(
    SearchSettings,
    strategy=st.just("scripted"),
    stop=st.sampled_from(["never", "passed"]),
    batch_size=st.integers(1, 3),
    budget=st.builds(
        Budget, images=st.none() | st.integers(1, 12), steps=st.none() | st.integers(4, 60)
    ),
)


@effort(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scripts(), searches)
def test_rounds_of_any_size_cut_at_any_candidate_end_as_if_they_never_were(
    script: Script, settings: SearchSettings
) -> None:
    with scripted(script):
        whole = steps(settings)
        for cut in whole:
            resumed = steps(settings, read_back(cut)) or [cut]
            assert facts(resumed[-1]) == facts(whole[-1])
        by_hand, actors = History(), Toys().actors()
        free = replace(settings, stop="never", budget=Budget())
        while not is_over(by_hand, free, actors):
            by_hand = run_round(PROMPT, free, actors, by_hand)
        assert [len(r) for r in by_hand.rounds] == [len(moves) for moves in script]


@effort(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scripts())
def test_a_sheet_of_any_rounds_shows_every_picture_once_and_each_round_in_its_column(
    script: Script,
) -> None:
    with scripted(script):
        *_, history = steps(SETTINGS)
    laid, left_out = columns(history)
    shown = [[c for c in column.cells if c] for column in laid]
    later = history.rounds[1:]
    assert left_out == 0
    assert [set(column) for column in shown[len(shown) - len(later) :]] == [set(r) for r in later]
    assert sum(map(len, shown)) == len(history)
    assert len({len(column.cells) for column in laid}) == 1


def test_an_empty_round_ends_the_search() -> None:
    with scripted(UNEVEN):
        *_, history = steps(SETTINGS)
        assert [len(candidates) for candidates in history.rounds] == [4, 1, 3]
        assert [c.action for c in history][4:] == ["correct", "correct", "backtrack", "correct"]
        painted = list(history)
        assert [c.parent for c in history.rounds[2]] == [painted[0], painted[4], painted[2]]
        assert is_over(history, SETTINGS, Toys().actors())
    with scripted([[]]):
        assert steps(SETTINGS) == []


def test_a_strategy_that_returns_ends_the_search_whatever_the_depth() -> None:
    with scripted(UNEVEN[:2]):
        assert len(steps(replace(SETTINGS, depth=50))) == 5


def test_a_killed_search_goes_on_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # slow, and guards a power cut only
    run = Run(PROMPT, SETTINGS)
    with scripted(UNEVEN):
        whole = steps(SETTINGS)
        for number, cut in enumerate(whole):
            with open_archive(tmp_path / str(number)) as archive:
                archive.begin(run)
                archive.append(cut)
            with open_archive(tmp_path / str(number), resume=True) as archive:
                for history in steps(SETTINGS, archive.history):
                    archive.append(history)
            read = read_recording(tmp_path / str(number)).history
            assert facts(read) == facts(whole[-1])


def test_a_history_of_other_rounds_is_refused() -> None:
    with scripted(UNEVEN):
        *_, history = steps(SETTINGS)
    with (
        scripted([UNEVEN[0], UNEVEN[0]]),
        pytest.raises(InputError, match=r"rounds of \[4, 1, 3\] pictures.*ask for \[4, 4\]"),
    ):
        steps(SETTINGS, history)


def test_a_chain_keeps_its_row_and_a_parent_in_another_row_is_named() -> None:
    with scripted(UNEVEN):
        *_, history = steps(SETTINGS)
    laid, _ = columns(history)
    drafts, (only,), (of_first, of_only, of_third) = history.rounds
    assert [column.cells for column in laid] == [
        (drafts[1], drafts[3], None),
        (drafts[2], drafts[0], None),
        (only, None, None),
        (of_only, of_first, of_third),
    ]
    assert list(parents_elsewhere(laid)) == [(of_third, drafts[2])]


def test_sheet_page_and_data_tell_of_uneven_rounds() -> None:
    with scripted(UNEVEN):
        *_, history = steps(SETTINGS)
    sheet = contact_sheet(history, PROMPT, SETTINGS)
    straight = replace(history, rounds=(*history.rounds[:2], history.rounds[2][:2]))
    assert sheet.height > contact_sheet(straight, PROMPT, SETTINGS).height
    page = html_page(history, PROMPT, SETTINGS)
    for number, parent in enumerate(["draft-1", "round-1-1", "draft-3"], start=1):
        card = page.partition(f'<article id="round-2-{number}"')[2].partition("</article>")[0]
        assert f'data-before="{parent}"' in card
    assert page.count(">backtrack<") == 2  # on the card, and among its details
    data = as_data(history, PROMPT, SETTINGS)["candidates"]
    assert [c["parent"] for c in data] == [None] * 4 + [2, 0, 4, 2]
    assert data[6]["action"] == "backtrack"
