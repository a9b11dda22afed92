"""The search, one behaviour a test: `pytest tests/core/test_search.py`."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from fakes import Cancelled, ToyClock, ToyCorrector, ToyGenerator, Toys, ToyVerifier, Watcher
from PIL import Image

from reflectionflow_core.evidence import Evidence
from reflectionflow_core.miniature.evolver import RuleEvolver
from reflectionflow_core.protocols import Actors
from reflectionflow_core.record import Candidate, History, InputError, Neighbour, Request, Verdict
from reflectionflow_core.search import (
    STRATEGIES,
    ActorError,
    is_over,
    limit_reached,
    run_round,
    search,
)
from reflectionflow_core.search.checks import check_understood
from reflectionflow_core.search.seeds import fresh_seed, shuffled
from reflectionflow_core.search.strategies.reflection import best_candidates, choose_parents
from reflectionflow_core.settings import AXES, Budget, SearchSettings
from reflectionflow_core.verdict import Trust

PROMPT = "a red cube left of a blue ball"
SOME = SearchSettings(width=2, depth=2, seed=7)


def last(toys: Toys, settings: SearchSettings, history: History | None = None) -> History:
    history = history or History()
    for step in search(PROMPT, settings, toys.actors(), history):
        history = step
    return history


def pixels(history: History) -> list[bytes]:
    return [candidate.image.tobytes() for candidate in history]


def test_search_is_the_algorithm_of_the_paper_written_out() -> None:
    ours = last(Toys(), SearchSettings(width=2, depth=3, drafts=4, seed=7, batch_size=2))

    toys, settings = Toys(), SearchSettings(width=2, drafts=4, seed=7)
    seeds = [fresh_seed(settings.seed, 0, i) for i in range(4)]
    images = toys.generator.paint([Request(seed, PROMPT) for seed in seeds])
    verdicts = toys.verifier.verify(PROMPT, images)
    pairs = zip(images, seeds, verdicts, strict=True)
    drafts = [Candidate(image, PROMPT, seed, verdict) for image, seed, verdict in pairs]
    rounds = [drafts]
    parents = sorted(drafts, key=lambda draft: -draft.rank)[:2]
    for index in range(1, 4):
        asked = [Request(0, parent=parent, corrects=True) for parent in parents]
        reflections = toys.writer.reflect(PROMPT, asked)
        prompts = toys.evolver.evolve(PROMPT, asked)
        seeds = [fresh_seed(settings.seed, index, i) for i in range(2)]
        told = zip(seeds, prompts, parents, reflections, strict=True)
        images = toys.corrector.paint([Request(*each, corrects=True) for each in told])
        verdicts = toys.verifier.verify(PROMPT, images)
        parents = [
            Candidate(images[i], prompts[i], seeds[i], verdicts[i], reflections[i], parents[i])
            for i in range(2)
        ]
        rounds.append(parents)

    theirs = History(tuple(map(tuple, rounds)))
    assert pixels(ours) == pixels(theirs)
    assert [(c.prompt, c.reflection, c.score) for c in ours] == [
        (c.prompt, c.reflection, c.score) for c in theirs
    ]


def test_every_picture_is_judged_once_and_for_the_users_prompt() -> None:
    toys = Toys()
    history = last(toys, SOME)
    assert toys.verifier.items == len(history) == SOME.scheduled_pictures
    assert {prompt for prompt, _ in toys.verifier.log} == {PROMPT}


def test_a_search_yields_every_candidate_as_it_comes() -> None:
    lengths = [len(h) for h in search(PROMPT, replace(SOME, batch_size=2), Toys().actors())]
    assert lengths == [1, 2, 3, 4, 5, 6]


def test_cost_counts_pictures_steps_calls_and_phases() -> None:
    clock = ToyClock()
    toys = Toys(
        generator=ToyGenerator(steps=5, on_call=clock.tick(1)),
        verifier=ToyVerifier(calls=3, on_call=clock.tick(0.5)),
    )
    toys.corrector.on_call = clock.tick(2)
    toys.writer.on_call = clock.tick(4)
    *_, history = search(PROMPT, SOME, toys.actors(), clock=clock)
    cost = history.cost
    assert (cost.images, cost.steps, cost.vlm_calls) == (6, 2 * 5 + 4 * 4, 6 * 3 + 4 * 2)
    assert cost.seconds == {"draft": 2, "correct": 8, "verify": 3, "reflect": 8, "evolve": 0}
    assert cost.slowest == 4 + 2 + 0.5
    assert cost.total_seconds == clock.now


@pytest.mark.parametrize(
    "axes", [axes for count in (1, 2, 3) for axes in combinations(AXES, count)]
)
def test_a_round_changes_only_what_its_axes_allow(axes: tuple[str, ...]) -> None:
    toys = Toys()
    for candidate in list(last(toys, replace(SOME, axes=axes)))[2:]:
        assert candidate.parent is not None
        assert (candidate.seed != candidate.parent.seed) == ("noise" in axes)
        assert (candidate.prompt != PROMPT) == ("prompt" in axes)
        assert bool(candidate.reflection) == ("reflection" in axes)
    assert toys.corrector.items == (4 if "reflection" in axes else 0)
    assert toys.writer.items == toys.corrector.items
    assert toys.evolver.items == (4 if "prompt" in axes else 0)
    assert toys.generator.items == 6 - toys.corrector.items


def test_noise_strategy_paints_the_prompt_anew() -> None:
    toys = Toys()
    history = last(toys, replace(SOME, strategy="noise"))
    assert all(c.parent is None and c.prompt == PROMPT and not c.reflection for c in history)
    assert len({c.seed for c in history}) == toys.generator.items == 6


def test_noise_and_prompt_strategy_evolves_but_never_corrects() -> None:
    toys = Toys()
    history = last(toys, replace(SOME, strategy="noise+prompt"))
    same = last(Toys(), replace(SOME, axes=("noise", "prompt")))
    assert pixels(history) == pixels(same)
    assert (toys.corrector.items, toys.writer.items, toys.evolver.items) == (0, 0, 4)


def test_zero_order_search_stays_around_the_best_noise_so_far() -> None:
    settings = replace(SOME, strategy="noise", noise_search="zero_order", radius=0.1, depth=4)
    history = last(Toys(), settings)
    for index in range(1, 5):
        best = History(history.rounds[:index]).best
        for candidate in history.rounds[index]:
            assert isinstance(candidate.seed, Neighbour)
            assert candidate.seed.pivot == best.seed
            assert candidate.seed.radius == 0.1


def test_zero_order_search_in_a_chain_stays_around_its_parents_noise() -> None:
    history = last(Toys(), replace(SOME, noise_search="zero_order"))
    for candidate in list(history)[2:]:
        assert candidate.parent is not None
        assert isinstance(candidate.seed, Neighbour)
        assert candidate.seed.pivot == candidate.parent.seed


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> Toys:
    """Toys whose verifier gives these scores to the pictures in the order they are painted."""
    toys, left = Toys(), iter(scores)

    def verify(prompt: str, images: list, progress: object) -> list[Verdict]:
        return [Verdict(next(left)) for _ in images]

    monkeypatch.setattr(toys.verifier, "verify", verify)
    return toys


@pytest.mark.parametrize(
    ("axes", "action"),
    [(AXES, "correct"), (("reflection",), "correct"), (("noise", "prompt"), "evolve")],
)
def test_a_picture_says_what_was_done_to_make_it(axes: tuple[str, ...], action: str) -> None:
    history = last(Toys(), replace(SOME, axes=axes))
    assert [c.action for c in history] == ["draft"] * 2 + [action] * 4
    noise = last(Toys(), replace(SOME, strategy="noise"))
    assert [c.action for c in noise] == ["draft"] * 2 + ["noise"] * 4


def test_chains_begin_with_the_best_drafts_the_earlier_of_equals_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toys = scripted(monkeypatch, [1, 5, 2, 5, 5, 0, 0, 0])
    drafts, corrected = last(toys, SearchSettings(width=3, depth=1, drafts=5)).rounds
    assert [c.parent for c in corrected] == [drafts[1], drafts[3], drafts[4]]


def test_fewer_drafts_than_chains_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    toys = scripted(monkeypatch, [1, 2, 0, 0, 0, 0, 0])
    drafts, corrected = last(toys, SearchSettings(width=5, depth=1, drafts=2)).rounds
    assert [c.parent for c in corrected] == [drafts[i] for i in (1, 0, 1, 0, 1)]


@pytest.mark.parametrize(("parents", "parent_of_third"), [("latest", 2), ("best", 0)])
def test_a_chain_goes_on_from_its_latest_or_its_best(
    monkeypatch: pytest.MonkeyPatch, parents: str, parent_of_third: int
) -> None:
    toys = scripted(monkeypatch, [9, 1, 2, 3])
    history = last(toys, SearchSettings(width=1, depth=3, parents=parents))
    assert list(history)[3].parent is list(history)[parent_of_third]


@pytest.mark.parametrize(("stop", "painted"), [("never", 8), (4.0, 4), ("passed", 4), (99.0, 8)])
def test_stop_rules_end_the_search_after_the_batch_that_meets_them(
    monkeypatch: pytest.MonkeyPatch, stop: str | float, painted: int
) -> None:
    toys, scores = Toys(), iter([0.0, 1.0, 4.0, 0.0, 4.0, 0.0, 4.0, 0.0])

    def verify(prompt: str, images: list, progress: object) -> list[Verdict]:
        return [Verdict(score, passed=score >= 4) for _, score in zip(images, scores, strict=False)]

    monkeypatch.setattr(toys.verifier, "verify", verify)
    settings = SearchSettings(width=2, depth=3, stop=stop, batch_size=2)
    history = last(toys, settings)
    assert len(history) == painted
    assert is_over(history, settings, toys.actors())
    assert last(toys, settings, history) is history


def test_a_score_ends_the_search_where_the_best_picture_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toys = Toys()
    verdicts = iter(
        [
            Verdict(0.5, True, trust=Trust(0.97)),
            Verdict(0.9, False, trust=Trust(0.1)),  # likely wrong, so never handed out
            Verdict(0.9, None, trust=Trust(0.98, looks=((),))),  # in doubt
            Verdict(0.8, True, trust=Trust(0.99)),
            Verdict(0.0),
        ]
    )
    monkeypatch.setattr(toys.verifier, "verify", lambda *_: [next(verdicts)])
    history = last(toys, SearchSettings(width=1, depth=9, stop=0.8))
    assert len(history) == 4 and history.best.score == 0.8


def test_chains_that_would_paint_the_same_pictures_are_refused() -> None:
    few = SearchSettings(width=3, drafts=2, depth=1)
    for axes in (("reflection",), ("prompt", "reflection")):
        with pytest.raises(InputError, match="3 chains would paint some pictures twice"):
            last(Toys(), replace(few, axes=axes))
        last(Toys(), replace(few, axes=axes, depth=0))
        last(Toys(), replace(few, axes=axes, strategy="adaptive"))
    last(Toys(), few)


def test_of_equal_scores_the_best_one_goes_on() -> None:
    seen = [Verdict(1.0, evidence=(Evidence("cup", None, sure),)) for sure in (0.5, 0.99, 0.7)]
    image = Image.new("RGB", (1, 1))
    made = [Candidate(image, PROMPT, i, verdict) for i, verdict in enumerate(seen)]
    assert History((tuple(made),)).best is made[1]
    settings = SearchSettings(width=2, parents="best")
    assert best_candidates(settings, made) == [made[1], made[2]]
    assert choose_parents(settings, made[:2], made[1:]) == made[:2]  # the earlier of equals stays


def test_no_text_is_asked_for_in_vain_where_a_stop_can_cut_the_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toys = scripted(monkeypatch, [0, 0, 0, 9])
    history = last(toys, SearchSettings(width=3, depth=1, stop=9.0))
    assert len(history) == 4
    assert toys.writer.items == toys.evolver.items == 1
    assert history.cost.vlm_calls == 4 + 1 + 1


def test_the_texts_of_a_round_that_nothing_can_cut_are_asked_for_at_once() -> None:
    toys = Toys()
    last(toys, SearchSettings(width=3, depth=2, batch_size=2))
    assert [len(asked[-1]) for asked in toys.writer.log] == [3, 3]
    assert [len(asked[-1]) for asked in toys.evolver.log] == [3, 3]
    assert [len(asked[-1]) for asked in toys.corrector.log] == [2, 1, 2, 1]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_budget_cuts_a_round_to_its_first_chains(batch_size: int) -> None:
    toys = Toys()
    settings = SearchSettings(width=3, depth=5, batch_size=batch_size, budget=Budget(images=8))
    history = last(toys, settings)
    assert [len(r) for r in history.rounds] == [3, 3, 2]
    assert toys.writer.items == 5  # nobody is asked for a picture that the budget does not pay
    assert is_over(history, settings, toys.actors())


def test_a_budget_of_calls_pays_texts_and_verdicts() -> None:
    history = last(Toys(), SearchSettings(width=3, depth=5, budget=Budget(vlm_calls=11)))
    assert [len(r) for r in history.rounds] == [3, 2]  # 3 + 2 * 3 calls; another 3 would be 12
    assert history.cost.vlm_calls == 9


def test_a_budget_of_steps_pays_each_picture_at_its_painters_price() -> None:
    toys = Toys(ToyGenerator(steps=5))
    settings = SearchSettings(width=3, depth=5, budget=Budget(steps=5 * 3 + 4 * 2 + 3))
    history = last(toys, settings)
    assert [len(r) for r in history.rounds] == [3, 2]  # a third correction takes 4 steps, not 3
    assert history.cost.steps == 5 * 3 + 4 * 2
    assert toys.writer.items == 2  # nobody is asked for a picture that the budget does not pay
    assert is_over(history, settings, toys.actors())


@pytest.mark.parametrize(
    ("how", "limit"),
    [
        ({"budget": Budget(images=3)}, "images"),
        ({"budget": Budget(vlm_calls=3)}, "vlm_calls"),  # drafts ask 1, corrections 3
        ({"budget": Budget(steps=9)}, "steps"),  # drafts take 3, corrections 5
        ({"budget": Budget(steps=9, images=2)}, "images"),
        ({"budget": Budget(seconds=5)}, "seconds"),
        ({"budget": Budget(images=4), "depth": 1}, ""),
        ({"budget": Budget(images=2), "stop": 0.0}, ""),
        ({"strategy": "adaptive", "budget": Budget(vlm_calls=2)}, "vlm_calls"),
    ],
)
def test_the_limit_that_ends_a_search_is_known_whatever_the_next_picture_costs(how, limit) -> None:
    clock = ToyClock()
    painter = ToyGenerator(steps=3, on_call=clock.tick(2))
    actors = Toys(painter, corrector=ToyCorrector(steps=5, on_call=clock.tick(2))).actors()
    settings = replace(SearchSettings(width=2, depth=3), **how)
    *before, last = search("a red cube", settings, actors, clock=clock)
    assert limit_reached(last, settings, actors) == limit
    assert [limit_reached(history, settings, actors) for history in before] == [""] * len(before)


def test_a_budget_of_seconds_begins_no_batch_that_would_overrun() -> None:
    clock = ToyClock()
    toys = Toys(ToyGenerator(on_call=clock.tick(3)))
    settings = SearchSettings(width=9, budget=Budget(seconds=10))
    *_, history = search(PROMPT, settings, toys.actors(), clock=clock)
    assert len(history) == 3
    assert is_over(history, settings, toys.actors())


def test_the_first_batch_is_painted_even_if_it_overruns() -> None:
    clock = ToyClock()
    toys = Toys(ToyGenerator(on_call=clock.tick(30)))
    settings = SearchSettings(budget=Budget(seconds=10))
    assert len(list(search(PROMPT, settings, toys.actors(), clock=clock))) == 1


@pytest.mark.parametrize(
    ("seat", "named"),
    [
        ("generator", "generator was asked 2 items and answered 1"),
        ("verifier", "verifier was asked 2"),
        ("writer", "reflection writer was asked 2"),
        ("evolver", "prompt evolver was asked 2"),
        ("corrector", "corrector was asked 2"),
    ],
)
def test_an_actor_that_answers_too_few_is_named(seat: str, named: str) -> None:
    toys = Toys()
    getattr(toys, seat).script = {0: -1}
    with pytest.raises(ActorError, match=named):
        last(toys, replace(SOME, batch_size=2))


def test_the_exception_of_an_actor_passes_through_and_the_search_resumes() -> None:
    toys, history = Toys(), History()
    toys.corrector.script = {1: TimeoutError("no answer")}
    with pytest.raises(TimeoutError, match="no answer"):
        for step in search(PROMPT, SOME, toys.actors()):
            history = step
    assert len(history) == 3
    assert pixels(last(Toys(), SOME, history)) == pixels(last(Toys(), SOME))


def test_cancelling_at_any_check_passes_through() -> None:
    watcher = Watcher()
    list(search(PROMPT, SOME, Toys().actors(), progress=watcher))
    pictures, writing, steps = 6, 2 * 2, 6 * 4
    assert watcher.checks == 2 * pictures + writing + steps  # every call, every diffusion step
    for moment in range(watcher.checks):
        with pytest.raises(Cancelled):
            list(search(PROMPT, SOME, Toys().actors(), progress=Watcher(cancel_at=moment)))


def test_rounds_run_by_hand_equal_the_search() -> None:
    toys, history, rounds = Toys(), History(), 0
    while not is_over(history, SOME, toys.actors()):
        history = run_round(PROMPT, SOME, toys.actors(), history)
        rounds += 1
    assert rounds == 1 + SOME.depth
    assert pixels(history) == pixels(last(Toys(), SOME))
    assert run_round(PROMPT, SOME, toys.actors(), history) is history
    assert list(search(PROMPT, SOME, toys.actors(), history, one_round=True)) == []


def test_more_depth_goes_on_with_a_finished_history() -> None:
    shallow = last(Toys(), replace(SOME, depth=1))
    deep = last(Toys(), SOME, shallow)
    assert deep.rounds[:2] == shallow.rounds
    assert pixels(deep) == pixels(last(Toys(), SOME))


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(InputError, match="prompt is empty"):
        list(search(prompt, SOME, Toys().actors()))


def test_an_unknown_strategy_is_refused_by_naming_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"'magic'.*noise, noise\+prompt, reflection"):
        list(search(PROMPT, replace(SOME, strategy="magic"), Toys().actors()))


def test_a_strategy_without_any_of_its_axes_is_refused() -> None:
    with pytest.raises(InputError, match="can change noise only"):
        list(search(PROMPT, replace(SOME, strategy="noise", axes=("prompt",)), Toys().actors()))


@pytest.mark.parametrize(
    ("missing", "named"),
    [("corrector", "a corrector"), ("writer", "a reflection writer"), ("evolver", "a prompt evol")],
)
def test_a_missing_actor_is_named_before_anything_is_painted(missing: str, named: str) -> None:
    toys = Toys()
    actors = replace(toys.actors(), **{missing: None})
    with pytest.raises(InputError, match=named):
        list(search(PROMPT, SOME, actors))
    assert toys.generator.items == 0


def test_actors_that_nobody_asks_may_be_missing() -> None:
    toys = Toys()
    alone = Actors(toys.generator, toys.verifier)
    assert len(list(search(PROMPT, replace(SOME, strategy="noise"), alone))) == 6
    assert len(list(search(PROMPT, replace(SOME, depth=0), alone))) == 2


def test_a_budget_below_one_picture_is_refused() -> None:
    toys = Toys(verifier=ToyVerifier(calls=3))
    with pytest.raises(InputError, match="takes 3 VLM calls, and the budget is 2"):
        last(toys, replace(SOME, budget=Budget(vlm_calls=2)))


def test_a_budget_below_the_steps_of_one_picture_is_refused() -> None:
    with pytest.raises(InputError, match="takes 4 diffusion steps, and the budget is 3"):
        last(Toys(), replace(SOME, budget=Budget(steps=3)))


def test_a_history_of_another_width_is_refused() -> None:
    history = last(Toys(), SOME)
    with pytest.raises(InputError, match="Resume with the width"):
        last(Toys(), replace(SOME, width=3, drafts=2), history)


@pytest.mark.parametrize(
    ("change", "asked"), [({"depth": 1}, [2, 2, 0]), ({"drafts": 1}, [1]), ({"drafts": 3}, [3])]
)
def test_a_history_that_the_settings_never_make_is_refused_with_both_shapes(
    change: dict, asked: list[int]
) -> None:
    history = last(Toys(), SOME)
    with pytest.raises(InputError) as error:
        last(Toys(), replace(SOME, **change), history)
    assert f"rounds of [2, 2, 2] pictures, the settings ask for {asked}." in str(error.value)


def test_every_strategy_is_known_by_name() -> None:
    assert set(STRATEGIES) == {
        "noise",
        "noise+prompt",
        "reflection",
        "adaptive",
        "potential",
        "scouts",
        "paths",
        "staged",
        "interleaved",
        "in-context",
    }


def test_a_key_permutes_the_32_bit_numbers() -> None:
    for key in (0, 1, 2**32 - 1):
        seeds = [shuffled(number, key) for number in range(3000)]
        assert len(set(seeds)) == 3000
        assert all(0 <= seed < 2**32 for seed in seeds)
    assert shuffled(0, 0) != shuffled(0, 1)


def test_seeds_of_a_search_are_written_in_stone() -> None:
    """A change here changes every picture of every search: old runs could not be resumed."""
    assert [fresh_seed(SOME.seed, r, i) for r in range(2) for i in range(2)] == [
        3066358019,
        3992643195,
        2542678316,
        899417013,
    ]


def test_a_prompt_that_only_the_evolver_cannot_take_is_refused_before_the_first_picture() -> None:
    actors = replace(Toys().actors(), evolver=RuleEvolver())
    with pytest.raises(InputError, match="does not understand"):
        check_understood("a dog", SearchSettings(), actors)
    check_understood("a dog", SearchSettings(depth=0), actors)  # nobody evolves
    check_understood("a dog", SearchSettings(axes=("noise", "reflection")), actors)
