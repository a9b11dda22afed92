"""The strategy that adapts: what each policy decides, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fakes import Toys, ToyVerifier, examples, facts, picture, read_back
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from reflectionflow_core.record import Candidate, History, InputError, Verdict
from reflectionflow_core.report import contact_sheet, history_text, html_page
from reflectionflow_core.search import POLICIES, run_round, search
from reflectionflow_core.search.policies import (
    BACKTRACK,
    CONTINUE,
    EVOLVE,
    FRESH,
    STOP,
    Chain,
    Policy,
    luby,
    progress,
    restart,
)
from reflectionflow_core.settings import AXES, Budget, SearchSettings
from reflectionflow_core.verifiers.ensemble import EnsembleMember, EnsembleVerifier

PROMPT = "two green bowls"
SETTINGS = SearchSettings(strategy="adaptive", width=2, depth=6, seed=3)
BLANK = picture(bytes(192))


def chain_of(*steps: tuple[str, float | Verdict]) -> Chain:
    """Pictures of these actions, with these scores or verdicts."""
    return [
        Candidate(BLANK, PROMPT, i, v if isinstance(v, Verdict) else Verdict(v, False), action=a)
        for i, (a, v) in enumerate(steps)
    ]


def decided(policy: Policy, *steps: tuple[str, float | Verdict]) -> str:
    chain = chain_of(*steps)
    return policy(SETTINGS, History((tuple(chain),)), chain)


def test_progress_is_followed_and_a_step_back_is_taken_back() -> None:
    assert decided(progress, ("draft", 0.5)) == CONTINUE
    assert decided(progress, ("draft", 0.5), (CONTINUE, 0.6)) == CONTINUE
    assert decided(progress, ("draft", 0.5), (CONTINUE, 0.6), (CONTINUE, 0.6)) == BACKTRACK


def test_patience_is_as_long_as_the_progress_that_was_made() -> None:
    assert decided(progress, ("draft", 0.5), (CONTINUE, 0.4)) == FRESH
    once = [("draft", 0.5), (CONTINUE, 0.6), (CONTINUE, 0.1)]
    assert decided(progress, *once) == BACKTRACK
    assert decided(progress, *once, (BACKTRACK, 0.3)) == FRESH
    twice = [*once, (BACKTRACK, 0.7), (CONTINUE, 0.1), (BACKTRACK, 0.1)]
    assert decided(progress, *twice) == BACKTRACK
    assert decided(progress, *twice, (BACKTRACK, 0.7)) == FRESH


def test_new_beginnings_are_measured_by_themselves_and_come_by_turns() -> None:
    told = [("draft", 0.5), (CONTINUE, 0.1), (FRESH, 0.2)]
    assert decided(progress, *told) == CONTINUE
    assert decided(progress, *told, (CONTINUE, 0.1)) == EVOLVE
    assert decided(progress, *told, (CONTINUE, 0.1), (EVOLVE, 0.1), (CONTINUE, 0.1)) == FRESH


@pytest.mark.parametrize(
    ("second_opinion", "follows"),
    [
        (6.0, True),  # no worse: one spread of the first one is as much as they may be apart
        (5.0, False),  # half a spread worse
        (4.0, False),  # as clearly worse as the first one finds it better
    ],
)
def test_a_step_is_progress_only_if_no_verifier_finds_it_worse(
    second_opinion: float, follows: bool
) -> None:
    """The ensemble's own disagreement, so that its scale and the policy's limit fit together."""

    @dataclass
    class Scripted:
        scores: list[float]
        calls: int = 0

        def verify(self, prompt: str, images: Sequence, progress: Any = None) -> list[Verdict]:
            return [Verdict(self.scores.pop(0), False) for _ in images]

    members = [
        EnsembleMember("a", Scripted([0.5, 0.75]), spread=0.25),
        EnsembleMember("b", Scripted([6.0, second_opinion]), spread=2.0),
    ]
    draft, step = EnsembleVerifier(members).verify(PROMPT, [BLANK, BLANK])
    draft, step = replace(draft, score=0.5), replace(step, score=0.6)
    decision = decided(progress, ("draft", draft), (CONTINUE, step))
    assert (decision == CONTINUE) == follows


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pass_anywhere_stops_every_chain(policy: str) -> None:
    chain = chain_of(("draft", 0.5), (CONTINUE, 0.4))
    elsewhere = chain_of(("draft", Verdict(1.0, True)))
    past = History((tuple(chain), tuple(elsewhere)))
    assert POLICIES[policy](SETTINGS, past, chain) == STOP
    unknown = chain_of(("draft", Verdict(0.5, None)))
    assert POLICIES[policy](SETTINGS, History((tuple(unknown),)), unknown) != STOP


def test_restarts_follow_lubys_sequence_whatever_comes_of_them() -> None:
    assert [luby(n) for n in range(1, 16)] == [1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8]
    told: list[tuple[str, float | Verdict]] = [("draft", 0.5)]
    for score in range(11):
        told.append((decided(restart, *told), score / 20))
    words = "".join(action[0] for action, _ in told)
    assert words == "dcfcfccfcfcf"


def last(settings: SearchSettings, pass_at: float = 0.97, past: History | None = None) -> History:
    toys = Toys(verifier=ToyVerifier(pass_at=pass_at))
    *_, history = [past or History(), *search(PROMPT, settings, toys.actors(), past or History())]
    return history


def test_an_easy_prompt_ends_with_its_first_picture_and_a_hard_one_gets_chains_and_depth() -> None:
    assert len(last(SETTINGS, pass_at=0.0)) == 1
    hard = last(SETTINGS, pass_at=2.0)
    assert [len(candidates) for candidates in hard.rounds] == [1, 2, 2, 2, 2, 2, 2]
    assert [c.action for c in hard.rounds[1]] == [CONTINUE, "draft"]
    drafts = last(replace(SETTINGS, drafts=3, width=4), pass_at=2.0)
    assert [len(candidates) for candidates in drafts.rounds] == [3, 4, 4, 4, 4, 4, 4]


def test_actions_paint_what_they_say() -> None:
    history = last(replace(SETTINGS, width=1, depth=40), pass_at=2.0)
    run: list[Candidate] = []
    for candidate in history:
        if candidate.action in ("draft", FRESH, EVOLVE):
            if candidate.action == EVOLVE:
                assert candidate.parent in run
                assert candidate.prompt != PROMPT
            else:
                assert candidate.parent is None
                assert candidate.prompt == PROMPT
            assert not candidate.reflection
            run = []
        elif candidate.action == CONTINUE:
            assert candidate.parent is run[-1]
        else:
            assert candidate.parent is max(run, key=lambda c: c.rank)
        run.append(candidate)
    assert {c.action for c in history} >= {"draft", CONTINUE, FRESH, EVOLVE}
    assert len({c.seed for c in history}) == len(history)


@pytest.mark.parametrize("axes", [("noise",), ("prompt",), ("reflection",), ("noise", "prompt")])
def test_every_choice_of_axes_is_kept_to(axes: tuple[str, ...]) -> None:
    history = last(replace(SETTINGS, axes=axes, width=1, depth=30), pass_at=2.0)
    later = [c for c in history if c.parent is not None]
    if "noise" not in axes:
        assert {c.seed for c in history} == {history.rounds[0][0].seed}
    assert ("reflection" in axes) == any(c.reflection for c in later)
    if "prompt" not in axes:
        assert {c.prompt for c in history} == {PROMPT}
        assert EVOLVE not in {c.action for c in history}


def test_steady_without_further_chains_is_the_strategy_reflection() -> None:
    one = replace(SETTINGS, width=1, policy="steady")
    steady, fixed = last(one, 2.0), last(replace(one, strategy="reflection"), 2.0)
    told = [[(c.image.tobytes(), c.prompt, c.reflection) for c in h] for h in (steady, fixed)]
    assert told[0] == told[1]


@effort(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        SearchSettings,
        strategy=st.just("adaptive"),
        policy=st.sampled_from(list(POLICIES)),
        width=st.integers(1, 3),
        drafts=st.none() | st.integers(1, 4),
        depth=st.integers(0, 8),
        axes=st.sampled_from([AXES, ("noise", "reflection"), ("noise", "prompt"), ("prompt",)]),
        stop=st.sampled_from(["never", "passed"]),
        batch_size=st.integers(1, 3),
        budget=st.builds(Budget, images=st.none() | st.integers(1, 14)),
    ),
    st.sampled_from([0.85, 0.93, 2.0]),
)
def test_cut_at_any_picture_it_ends_as_if_it_never_were(
    settings: SearchSettings, pass_at: float
) -> None:
    toys = Toys(verifier=ToyVerifier(pass_at=pass_at)).actors()
    whole = list(search(PROMPT, settings, toys))
    for cut in whole:
        resumed = list(search(PROMPT, settings, toys, read_back(cut))) or [cut]
        assert facts(resumed[-1]) == facts(whole[-1])
    deeper = list(search(PROMPT, replace(settings, depth=settings.depth + 2), toys))
    assert facts(deeper[len(whole) - 1])[1] == facts(whole[-1])[1]
    by_hand, free = History(), replace(settings, stop="never", budget=Budget())
    for _ in range(settings.depth + 1):
        by_hand = run_round(PROMPT, free, toys, by_hand)
    assert [facts(h)[1][:1] for h in (by_hand, whole[-1])]


def test_the_report_says_what_was_done() -> None:
    history = last(replace(SETTINGS, width=1, depth=12), pass_at=2.0)
    text = history_text(history)
    assert "Round 1 no. 1, continue: Make it more like" in text
    assert ", fresh: " in text
    assert ", draft" not in text
    assert ">fresh<" in html_page(history, PROMPT, SETTINGS)
    silent = replace(
        history,
        rounds=tuple(tuple(replace(c, action="", parent=None) for c in r) for r in history.rounds),
    )
    assert contact_sheet(history, PROMPT).height > contact_sheet(silent, PROMPT).height


def test_an_unknown_policy_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(InputError, match="no policy named 'luck'"):
        last(replace(SETTINGS, policy="luck"))
