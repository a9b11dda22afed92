"""Many prompts, one budget: where it goes, and that neither budget nor kill does harm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from fakes import Toys, ToyVerifier, examples, facts, picture, read_back
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from PIL.Image import Image

from reflectionflow_core.protocols import SILENT, Actors, Progress
from reflectionflow_core.record import Candidate, Cost, History, Verdict
from reflectionflow_core.search import InMemory, UnjudgedError, portfolio
from reflectionflow_core.search.portfolio import (
    Replaying,
    Standing,
    expected_gain,
    remaining_budget,
)
from reflectionflow_core.settings import Budget, SearchSettings

PROMPTS = ("two green bowls", "a blue door", "a red cube", "the sea at night")
SETTINGS = SearchSettings(strategy="adaptive", width=2, depth=20, seed=3, stop="passed")


def actors(pass_at: float = 0.9) -> Actors:
    return Toys(verifier=ToyVerifier(pass_at=pass_at)).actors()


def searches(
    settings: SearchSettings, histories: Sequence[History], pass_at: float = 0.9
) -> list[InMemory]:
    who = actors(pass_at)
    return [InMemory(p, settings, who, h) for p, h in zip(PROMPTS, histories, strict=True)]


def begun(settings: SearchSettings = SETTINGS, pass_at: float = 0.9) -> list[InMemory]:
    return searches(settings, [History()] * len(PROMPTS), pass_at)


def lacking(*unmet: int) -> History:
    """One picture a round, each with so many unmet requirements; 0 has passed."""
    blank = picture(bytes(192))
    verdicts = [Verdict(-n, n == 0, unmet=("wrong",) * n) for n in unmet]
    return History(tuple((Candidate(blank, "p", i, v),) for i, v in enumerate(verdicts)))


def test_what_is_not_begun_comes_first_and_what_passed_gains_nothing() -> None:
    assert expected_gain(History()) == 1.0
    assert expected_gain(lacking(2, 0)) == 0.0


def test_a_scout_that_passed_is_no_picture_yet_and_promises_most() -> None:
    draft, scout = lacking(2, 0).rounds
    waiting = History((draft, (replace(scout[0], finished=False),)))
    assert 0 < expected_gain(lacking(2)) < expected_gain(waiting) < 1


def test_many_prompts_are_searched_by_scouts_until_all_have_passed() -> None:
    settings = replace(SETTINGS, strategy="scouts", depth=40)
    several = begun(settings, pass_at=0.86)
    for _ in portfolio(several, Budget(steps=400)):
        pass
    assert all(search.history.best.verdict.passed for search in several)
    assert all(search.history.best.finished for search in several)


@pytest.mark.parametrize(
    ("more", "less"),
    [
        (lacking(1), lacking(2)),  # nearer
        (lacking(1), lacking(1, 1)),  # tried less often
        (lacking(2, 2, 1), lacking(1, 2, 2)),  # got nearer just now
        (lacking(3, 3, 2), lacking(2, 3, 3)),
    ],
)
def test_nearer_prompts_and_those_that_get_nearer_gain_more(more: History, less: History) -> None:
    assert 1 > expected_gain(more) > expected_gain(less) > 0


def test_every_prompt_is_begun_and_the_rest_goes_where_it_is_needed() -> None:
    jobs = begun()
    (*_, (_, _)) = portfolio(jobs, Budget())
    sizes = [len(job.history) for job in jobs]
    assert all(job.history.best.verdict.passed for job in jobs)
    assert len(set(sizes)) > 1  # easy prompts leave theirs to hard ones
    alone = begun()
    for job in alone:
        list(portfolio([job], Budget()))
    assert [facts(a.history) for a in alone] == [facts(b.history) for b in jobs]


def test_a_budget_for_the_first_pictures_gives_each_prompt_one() -> None:
    jobs = begun(pass_at=2.0)
    list(portfolio(jobs, Budget(images=len(PROMPTS))))
    assert [len(job.history) for job in jobs] == [1] * len(PROMPTS)


def test_prompts_that_never_pass_take_turns() -> None:
    jobs = begun(replace(SETTINGS, width=1), pass_at=2.0)
    list(portfolio(jobs, Budget(images=22)))
    assert sorted(len(job.history) for job in jobs) == [5, 5, 6, 6]


@pytest.mark.parametrize("unit", ["images", "steps", "vlm_calls"])
def test_the_budget_of_all_is_never_exceeded(unit: str) -> None:
    for limit in (5, 9, 23, 61):
        jobs = begun(pass_at=2.0)
        list(portfolio(jobs, Budget(**{unit: limit})))
        spent = sum(getattr(job.history.cost, unit) for job in jobs)
        assert limit - 4 <= spent <= limit  # one picture of these toys takes at most 4 of each


def test_a_round_whose_pictures_are_all_dropped_does_not_end_its_search() -> None:
    settings = replace(SETTINGS, strategy="potential", axes=("noise",), depth=6)
    jobs = begun(settings, pass_at=2.0)
    list(portfolio(jobs, Budget(images=1000)))
    assert [len(job.history.rounds) for job in jobs] == [7] * len(PROMPTS)


def test_what_is_left_over_is_the_total_less_what_others_spent() -> None:
    total = Budget(images=10, steps=40)
    assert remaining_budget(total, [Cost(3, 10), Cost(1, 2)]) == Budget(images=6, steps=28)
    assert remaining_budget(total, [Cost(3, 20), Cost(1, 20)]) is None
    assert remaining_budget(Budget(), [Cost(3)]) == Budget()
    seconds = [Cost(seconds={"draft": 3.0, "verify": 0.5}), Cost(seconds={"draft": 0.5})]
    assert remaining_budget(Budget(seconds=5), seconds) == Budget(seconds=1)


@dataclass
class Slow:
    """A search whose every picture takes ten seconds."""

    standing: Standing = field(default_factory=partial(Standing, 1.0, Cost(), under_way=False))

    def play(self, budget: Budget) -> Iterator[History]:
        cost = self.standing.cost + Cost(seconds={"draft": 10.0}, slowest=10.0)
        self.standing = replace(self.standing, cost=cost)
        yield History()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_prompt_is_not_begun_where_a_batch_as_slow_as_the_others_is_too_slow(count: int) -> None:
    assert len(list(portfolio([Slow() for _ in range(count)], Budget(seconds=25)))) == 2


def test_a_prompt_that_nobody_can_judge_does_not_end_a_batch_that_is_continued() -> None:
    class Unsure(ToyVerifier):
        def verify(self, prompt: str, images: Sequence[Image], progress: Progress = SILENT):
            if prompt == PROMPTS[1]:
                return [Verdict.unjudged("refused")] * len(images)
            return super().verify(prompt, images, progress)

    settings = SearchSettings(strategy="noise", width=1, depth=3)
    who = Toys(verifier=Unsure(pass_at=1.5)).actors()
    jobs = [InMemory(prompt, settings, who) for prompt in PROMPTS[:3]]
    for history in jobs[0].play(Budget()):  # in an earlier session
        assert len(history) == 1
    with pytest.raises(UnjudgedError):
        list(portfolio(jobs, Budget()))
    assert [len(job.history) for job in (jobs[0], jobs[2])] == [4, 4]


@effort(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["adaptive", "reflection", "noise"]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["never", "passed"]),
    st.integers(4, 30),
    st.data(),
)
def test_stopped_after_any_picture_it_ends_as_if_it_never_was(
    strategy: str, width: int, batch: int, stop: str, images: int, data: st.DataObject
) -> None:
    settings = SearchSettings(
        strategy=strategy, width=width, batch_size=batch, stop=stop, depth=6, seed=5
    )
    total = Budget(images=images)
    whole = begun(settings)
    states: list[list[History]] = []
    for _ in portfolio(whole, total):
        states.append([job.history for job in whole])
    cut = data.draw(st.sampled_from(states))
    resumed = searches(settings, [read_back(history) for history in cut])
    list(portfolio(resumed, total))
    assert [facts(job.history) for job in resumed] == [facts(job.history) for job in whole]


def replaying(
    settings: SearchSettings, steps: Sequence[Sequence[History]] = ((),) * len(PROMPTS)
) -> list[Replaying]:
    who = actors(pass_at=1.5)
    return [
        Replaying(p, settings, who, steps=known) for p, known in zip(PROMPTS, steps, strict=True)
    ]


@effort(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["adaptive", "reflection", "noise", "potential", "scouts"]),
    st.integers(1, 3),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(4, 40), st.integers(4, 40)),
)
def test_what_was_painted_before_changes_nothing_whatever_the_budget_and_depth(
    strategy: str, width: int, depths: tuple[int, int], images: tuple[int, int]
) -> None:
    first, second = (
        SearchSettings(strategy=strategy, width=width, stop="passed", depth=depth, seed=5)
        for depth in depths
    )
    before = replaying(first)
    list(portfolio(before, Budget(images=images[0])))
    after = replaying(second, [job.steps for job in before])
    list(portfolio(after, Budget(images=images[1])))
    anew = replaying(second)
    list(portfolio(anew, Budget(images=images[1])))
    assert [facts(job.history) for job in after] == [facts(job.history) for job in anew]
    taken_over = sum(len(job.history) - job.painted for job in after)
    assert taken_over == sum(
        min(len(a.history), len(b.history)) for a, b in zip(after, before, strict=True)
    )


def test_a_batch_that_a_budget_had_cut_is_completed() -> None:
    settings = SearchSettings(strategy="noise", width=4, depth=0, batch_size=4, seed=5)
    (cut,) = replaying(settings)[:1]
    list(portfolio([cut], Budget(images=3)))
    assert len(cut.history) == cut.painted == 3
    whole = Replaying(PROMPTS[0], settings, cut.actors, steps=cut.steps)
    list(portfolio([whole], Budget()))
    assert (len(whole.history), whole.painted) == (4, 1)
    (anew,) = replaying(settings)[:1]
    list(portfolio([anew], Budget()))
    assert facts(whole.history) == facts(anew.history)
