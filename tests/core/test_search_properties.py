"""What holds for every search, whatever its settings."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from fakes import (
    ToyCorrector,
    ToyEvolver,
    ToyGenerator,
    ToyInspector,
    Toys,
    ToyVerifier,
    ToyWriter,
    examples,
    facts,
    read_back,
)
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from reflectionflow_core.record import Candidate, History, Restart, Stage
from reflectionflow_core.search import STRATEGIES, is_over, run_round, search
from reflectionflow_core.settings import AXES, Budget, SearchSettings

PROMPT = "two green bowls"
CALLS = {"writer": 2, "evolver": 1, "inspector": 1}
STAGES = tuple(Stage(f"add bowl {i}", f"{PROMPT}, {i} of 2", ("a bowl",)) for i in (1, 2))

modest = effort(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def possible(settings: SearchSettings) -> bool:
    strategy, limit = STRATEGIES[settings.strategy], settings.budget.vlm_calls
    usable = set(settings.axes) & set(strategy.axes)
    judged = limit is None or limit > strategy.in_stages  # two calls where it is inspected, too
    twins = strategy.chained and settings.draft_count < settings.width and "noise" not in usable
    return bool(usable) and usable >= set(strategy.needs) and judged and not twins


budgets = st.builds(
    Budget,
    images=st.none() | st.integers(1, 12),
    vlm_calls=st.none() | st.integers(2, 30),
    steps=st.none() | st.integers(4, 40),
)
searches = st.builds(
    SearchSettings,
    width=st.integers(1, 4),
    depth=st.integers(0, 3),
    drafts=st.none() | st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    axes=st.lists(st.sampled_from(AXES), min_size=1, unique=True).map(tuple),
    parents=st.sampled_from(["latest", "best"]),
    stop=st.sampled_from(["never", "never", "passed", 0.85]),
    noise_search=st.sampled_from(["random", "zero_order"]),
    batch_size=st.integers(1, 3),
    budget=budgets,
)
searches = searches.filter(possible).map(
    lambda s: replace(s, stages=STAGES) if STRATEGIES[s.strategy].in_stages else s
)


def toys() -> Toys:
    """Toys whose answers depend on the whole batch, as those of a GPU do in the last bit."""
    return Toys(
        ToyGenerator(steps=3, mates=True),
        ToyVerifier(pass_at=0.85),
        ToyCorrector(steps=5, mates=True),
        ToyWriter(calls=CALLS["writer"], mates=True),
        ToyEvolver(calls=CALLS["evolver"]),
        ToyInspector(calls=CALLS["inspector"]),
    )


def steps(settings: SearchSettings, history: History | None = None) -> list[History]:
    return list(search(PROMPT, settings, toys().actors(), history or History()))


@modest
@given(searches)
def test_a_search_cut_at_any_candidate_ends_as_if_it_never_was(settings: SearchSettings) -> None:
    whole = steps(settings)
    for cut in whole:
        resumed = steps(settings, read_back(cut)) or [cut]
        assert facts(resumed[-1]) == facts(whole[-1])


@modest
@given(searches)
def test_the_same_settings_give_the_same_history(settings: SearchSettings) -> None:
    assert facts(steps(settings)[-1]) == facts(steps(settings)[-1])


@modest
@given(searches)
def test_a_history_only_grows_and_its_best_never_gets_worse(settings: SearchSettings) -> None:
    histories = steps(settings)
    for earlier, later in pairwise(histories):
        assert len(later) == len(earlier) + 1
        assert list(later)[:-1] == list(earlier)
        assert rank(later.best) >= rank(earlier.best)


def rank(candidate: Candidate) -> tuple[bool, float]:
    return candidate.finished, candidate.rank


@modest
@given(searches)
def test_a_budget_is_never_exceeded(settings: SearchSettings) -> None:
    studio = toys()
    *_, history = search(PROMPT, settings, studio.actors())
    cost, budget = history.cost, settings.budget
    asked = studio.verifier.items
    asked += CALLS["writer"] * studio.writer.items + CALLS["evolver"] * studio.evolver.items
    asked += CALLS["inspector"] * studio.inspector.items
    painted = studio.generator.items + studio.corrector.items
    assert cost.images == len(history.finished) == painted
    assert cost.steps == sum(candidate.steps for candidate in history) == steps_taken(studio)
    assert cost.vlm_calls == asked
    assert budget.images is None or cost.images <= budget.images
    assert budget.vlm_calls is None or cost.vlm_calls <= budget.vlm_calls
    assert budget.steps is None or cost.steps <= budget.steps


def steps_taken(toys: Toys) -> int:
    """What the toys themselves know of their steps."""
    generator, corrector = toys.generator, toys.corrector
    previews = sum(len(asked[-1]) for toy in (generator, corrector) for asked in toy.looks)
    seeds = [request.seed for asked in generator.log for request in asked[-1]]
    restarts = [seed.level for seed in seeds if isinstance(seed, Restart)]
    fresh = len(seeds) - len(restarts)
    return previews + 3 * fresh + sum(map(generator.steps_from, restarts)) + 5 * corrector.items


@modest
@given(searches)
def test_what_is_dropped_is_never_the_best_nor_a_parent(settings: SearchSettings) -> None:
    history = steps(replace(settings, strategy="potential", axes=AXES, budget=Budget()))[-1]
    assert history.best.finished
    for candidate in history:
        assert candidate.parent is None or candidate.parent.finished
        if not candidate.finished:
            assert not candidate.verdict.passed
            assert candidate.rank <= (candidate.parent or history.best).rank


@modest
@given(searches)
def test_a_round_of_potential_has_what_the_saved_steps_pay_for(settings: SearchSettings) -> None:
    whole = replace(settings, strategy="potential", axes=("noise",), stop="never", budget=Budget())
    history = steps(whole)[-1]
    spent, price = 0, history.finished[0].steps
    for index, candidates in enumerate(history.rounds[1:]):
        spent += sum(candidate.steps for candidate in history.rounds[index])
        planned = price * (whole.draft_count + (index + 1) * whole.width)
        assert len(candidates) == max(1, (planned - spent) // price)


@modest
@given(searches)
def test_a_search_without_stop_or_budget_paints_every_picture(settings: SearchSettings) -> None:
    # Those of these rest, or begin with less.
    assume(settings.strategy not in ("adaptive", "potential", "scouts", "staged"))
    settings = replace(settings, stop="never", budget=Budget())
    history = steps(settings)[-1]
    assert len(history) == settings.scheduled_pictures
    assert [len(r) for r in history.rounds[1:]] == [settings.width] * settings.depth


def chain_of(history: History, position: int) -> list[Candidate]:
    """The draft that a chain began with, then its corrections: one in each round, at its place."""
    corrections = [r[position] for r in history.rounds[1:] if position < len(r)]
    return [corrections[0].lineage[0], *corrections]


@modest
@given(searches)
def test_chains_hold_together(settings: SearchSettings) -> None:
    # Each of these has parents of its own.
    own = ("noise", "adaptive", "potential", "scouts", "paths", "staged", "interleaved")
    assume(settings.strategy not in own)
    history = steps(settings)[-1]
    assert all(draft.parent is None for draft in history.rounds[0])
    for index, candidates in enumerate(history.rounds[1:], start=1):
        past = History(history.rounds[:index])
        for position, candidate in enumerate(candidates):
            chain = chain_of(history, position)[:index]
            best = max(chain, key=lambda member: member.rank)
            assert candidate.parent is (chain[-1] if settings.parents == "latest" else best)
            assert candidate.parent in list(past)


@modest
@given(searches)
def test_no_new_noise_is_ever_repeated(settings: SearchSettings) -> None:
    assume("noise" in settings.axes)
    seeds = [c.seed for c in steps(settings)[-1]]
    plain = [seed if isinstance(seed, int) else seed.seed for seed in seeds]
    assert len(set(plain)) == len(plain)
    assert all(0 <= seed < 2**32 for seed in plain)


@modest
@given(searches)
def test_every_answer_stays_with_its_question(settings: SearchSettings) -> None:
    """Toys write the parent's score into their texts: a shifted answer would name another one."""
    for candidate in steps(settings)[-1]:
        if candidate.reflection and candidate.action != "draw":
            assert candidate.parent is not None
            assert f"{candidate.parent.score:.6f}" in candidate.reflection
        if candidate.inspection and not candidate.inspection.accepted:
            scene = STAGES[candidate.stage or 0].scene
            told = f"Bring {scene} to {candidate.score:.6f}."
            assert (candidate.prompt, candidate.inspection.refine) == (scene, told)
        if isinstance(candidate.seed, Restart):
            assert candidate.parent is not None
            assert candidate.prompt == candidate.parent.prompt
        elif candidate.prompt != PROMPT and candidate.stage is None:
            assert candidate.parent is not None
            assert candidate.prompt == f"{PROMPT}, seen at {candidate.parent.score:.6f}"
        assert candidate.score == toys().verifier.verify(PROMPT, [candidate.image])[0].score


@modest
@given(searches)
def test_rounds_run_by_hand_equal_the_search(settings: SearchSettings) -> None:
    actors, history = toys().actors(), History()
    while not is_over(history, settings, actors):
        history = run_round(PROMPT, settings, actors, history)
    assert facts(history) == facts(steps(settings)[-1])
