"""The strategy "scouts": it looks often and cheaply, and paints on what looks right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from fakes import ToyCorrector, ToyGenerator, Toys, ToyVerifier, facts, read_back
from PIL import Image

from reflectionflow_core.archive import Run, open_archive, read_recording
from reflectionflow_core.feedback import Feedback
from reflectionflow_core.judge_errors import KINDS, JudgeErrors, KindErrors
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import (
    Candidate,
    History,
    InputError,
    Neighbour,
    Request,
    Restart,
    Verdict,
)
from reflectionflow_core.report import as_data, contact_sheet, history_text, html_page
from reflectionflow_core.report.words import candidate_name, settings_text
from reflectionflow_core.search import search
from reflectionflow_core.search.budget import FINISH_LEVEL
from reflectionflow_core.search.strategies.scouts import (
    FINISH,
    PATIENCE,
    WHOLE,
    finish,
    scout_to_finish,
    worth_correcting,
)
from reflectionflow_core.settings import Budget, SearchSettings
from reflectionflow_core.verdict import Trust

PROMPT = "a red cube left of a blue ball"
SCOUTS = SearchSettings(width=2, depth=12, seed=7, strategy="scouts")
STEPS, LOOK = 9, 2


@dataclass
class Scripted(ToyVerifier):
    """Passes what is listed, by the number of the picture that it judges, from 0 on."""

    passing: Sequence[int] = ()
    judged: int = 0

    def verify(
        self, prompt: str, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        known = super().verify(prompt, images, progress)
        first, self.judged = self.judged, self.judged + len(images)
        return [
            replace(verdict, passed=True, unmet=(), score=1.0)
            if first + i in self.passing
            else replace(verdict, passed=False)
            for i, verdict in enumerate(known)
        ]


def toys(*passing: int) -> Toys:
    return Toys(
        ToyGenerator(steps=STEPS, preview_steps=LOOK),
        Scripted(passing=passing),
        ToyCorrector(steps=STEPS, preview_steps=LOOK),
    )


def last(toys: Toys, settings: SearchSettings = SCOUTS, history: History | None = None) -> History:
    history = history or History()
    for step in search(PROMPT, settings, toys.actors(), history):
        history = step
    return history


def scouts_in(history: History) -> list[Candidate]:
    return [candidate for candidate in history if not candidate.finished]


def candidate(rank: float, **how) -> Candidate:
    how = {"verdict": Verdict(rank, passed=False), "finished": False, **how}
    return Candidate(Image.new("RGB", (1, 1)), PROMPT, 1, **how)


def test_the_first_draft_is_painted_whole_and_scouts_cost_a_preview() -> None:
    history = last(toys())
    draft, *others = history
    assert (draft.finished, draft.steps, draft.action) == (True, STEPS, "draft")
    assert len(history.rounds[0]) == 1 and len(history.rounds[1]) == SCOUTS.width
    assert {scout.steps for scout in scouts_in(history)} == {LOOK}
    assert {c.action for c in others if c.finished} <= {FINISH, WHOLE}
    assert history.cost.images == len(history.finished)
    assert history.cost.steps == sum(each.steps for each in history)


def test_a_scout_that_passes_is_painted_on_at_once_from_what_it_showed() -> None:
    looks = toys(2, 3)
    history = last(looks, replace(SCOUTS, stop="passed"))
    scout, finished = history.rounds[1][1], history.rounds[2][0]
    assert scout.verdict.passed and finished.verdict.passed
    assert history.rounds[1][1:] == (scout,) and len(history.rounds) == 3
    assert finished.parent is scout and finished.prompt == scout.prompt
    assert isinstance(finished.seed, Restart) and finished.seed.level == FINISH_LEVEL
    assert finished.steps == looks.generator.steps_from(FINISH_LEVEL) < STEPS
    assert history.best is finished


def test_a_scout_that_passes_in_the_last_round_is_finished_as_in_a_deeper_search() -> None:
    short, deep = (last(toys(2, 3), replace(SCOUTS, depth=depth)) for depth in (1, 4))
    assert short.rounds[1][1].verdict.passed
    assert [c.action for c in short.rounds[2]] == [FINISH]
    assert short.best.finished and short.best.verdict.passed
    assert facts(short) == facts(deep)


def test_a_vetoed_scout_is_not_painted_whole() -> None:
    passing = candidate(0.9, verdict=Verdict(0.9, passed=True))
    finished = candidate(0.2, finished=True, action=FINISH, parent=passing)
    rounds = ((candidate(0.1, finished=True),), (passing,), (finished,))
    assert scout_to_finish(History(rounds)) is passing
    assert scout_to_finish(History(rounds, feedback=(Feedback(3, vetoed=(1,)),))) is None


def test_a_pass_that_is_none_when_it_is_painted_on_is_painted_once_more_with_all_steps() -> None:
    history = last(toys(2), replace(SCOUTS, depth=9))
    scout, finished, whole = (history.rounds[number][-1] for number in (1, 2, 3))
    assert scout.verdict.passed and not finished.verdict.passed and not whole.verdict.passed
    assert (finished.action, finished.parent, whole.action) == (FINISH, scout, WHOLE)
    made_of = ("seed", "prompt", "parent", "reflection")
    assert [getattr(whole, name) for name in made_of] == [getattr(scout, name) for name in made_of]
    assert whole.finished and whole.steps == STEPS
    painted = [c for drawn in history.rounds[4:] for c in drawn if c.action in (FINISH, WHOLE)]
    assert scout not in [c.parent for c in painted]
    assert any(c.parent is finished for c in history)  # what it shows is corrected like others
    assert not any(c.parent is scout for c in history if c is not finished)


def test_a_correction_without_words_is_painted_whole_as_a_correction() -> None:
    draft = candidate(0.1, finished=True, action="draft")
    scout = candidate(0.9, action="correct", parent=draft)
    failed = candidate(0.2, finished=True, action=FINISH, parent=scout)
    whole = finish(SCOUTS, History(((draft,), (scout,), (failed,))), scout)
    assert (whole.phase, whole.parent, whole.asks_writer) == ("correct", draft, False)
    assert whole.action == WHOLE


def test_the_best_of_several_that_pass_is_painted_on() -> None:
    passing = [candidate(score, verdict=Verdict(score, passed=True)) for score in (0.5, 0.9, 0.9)]
    past = History(((candidate(0.1, finished=True),), tuple(passing)))
    assert scout_to_finish(past) is passing[1]


def test_a_scout_that_is_likelier_right_than_wrong_is_painted_on() -> None:
    """Where a judge's errors are known, one look at a preview is often too little for a pass."""
    draft = candidate(0.4, finished=True)
    for posterior, chosen in ((0.6, True), (0.4, False)):
        doubted = Verdict(0.9, passed=False, trust=Trust(posterior))
        scout = candidate(0.9, verdict=doubted)
        assert (scout_to_finish(History(((draft,), (scout,)))) is scout) == chosen


def test_a_judge_whose_errors_are_known_confirms_what_scouts_found() -> None:
    counts = (1000, 100, 1000, 100)
    errors = JudgeErrors("toy", tuple(KindErrors(kind, *counts) for kind in KINDS), 0.0)
    looks = Toys(
        ToyGenerator(steps=STEPS, preview_steps=LOOK),
        ToyVerifier(pass_at=0.86),
        ToyCorrector(steps=STEPS, preview_steps=LOOK),
    )
    settings = replace(SCOUTS, depth=40, stop="passed", budget=Budget(steps=300))
    actors = replace(looks.actors(), errors=errors)
    *steps, history = search(PROMPT, settings, actors)
    assert history.cost.steps <= 300
    assert history.best.finished and history.best.verdict.trust is not None
    resumed = list(search(PROMPT, settings, actors, read_back(steps[len(steps) // 2])))
    assert facts(resumed[-1])[1] == facts(history)[1]


def test_without_a_pass_the_best_is_painted_on_after_many_scouts_if_it_looks_better() -> None:
    draft = candidate(0.4, finished=True)
    scouts = [candidate(0.1 * number) for number in range(PATIENCE)]
    assert scout_to_finish(History(((draft,), tuple(scouts[1:])))) is None
    assert scout_to_finish(History(((draft,), tuple(scouts)))) is scouts[-1]
    better = candidate(0.9, finished=True)
    assert scout_to_finish(History(((better,), tuple(scouts)))) is None
    unjudged = candidate(0, verdict=Verdict.unjudged("It is dark."))
    assert scout_to_finish(History(((draft,), (unjudged,) * PATIENCE))) is None


def test_a_correction_in_vain_counts_as_much_as_a_place_in_the_ranking() -> None:
    first, second, third = (candidate(score) for score in (0.9, 0.8, 0.7))
    passed = candidate(1.0, verdict=Verdict(1.0, passed=True))
    known = [third, second, first, passed]
    assert worth_correcting(known, 2) == [first, second]
    vain = [candidate(0.1, parent=first), candidate(0.2, parent=first)]
    assert worth_correcting([*known, *vain], 2) == [second, first]
    restarted = [candidate(0.1, parent=first, action=action) for action in (FINISH, "evolve")]
    assert worth_correcting([*known, *restarted], 1) == [first]
    assert worth_correcting([passed], 2) == []


@pytest.mark.parametrize("width", [1, 2, 3])
def test_edits_of_the_best_new_beginnings_and_rewritten_prompts_are_mixed(width: int) -> None:
    history = last(toys(), replace(SCOUTS, width=width, depth=18))
    kinds = [scout.action for scout in scouts_in(history)]
    assert kinds[:11] == [
        *("correct", "fresh", "correct", "correct", "evolve", "correct"),
        *("correct", "fresh", "correct", "correct", "evolve"),
    ]
    for scout in scouts_in(history):
        assert (scout.parent is None) == (scout.action == "fresh")
        assert bool(scout.reflection) == (scout.action == "correct")
    seeds = [repr(scout.seed) for scout in scouts_in(history)]
    assert len(set(seeds)) == len(seeds)


def test_axes_narrow_what_scouts_try() -> None:
    actions = {}
    for axes in (("noise",), ("noise", "prompt"), ("noise", "reflection")):
        history = last(toys(), replace(SCOUTS, axes=axes))
        actions[axes] = {scout.action for scout in scouts_in(history)}
    assert actions["noise",] == {"noise", "fresh"}
    assert actions["noise", "prompt"] == {"evolve", "fresh"}
    assert actions["noise", "reflection"] == {"correct", "fresh"}
    with pytest.raises(InputError, match="needs the axis noise"):
        last(toys(), replace(SCOUTS, axes=("prompt", "reflection")))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("steps", [9, 10, 11, 14, 23, 40])
def test_a_budget_of_steps_is_never_exceeded_and_leaves_less_than_a_scout(
    steps: int, batch_size: int
) -> None:
    settings = replace(SCOUTS, depth=50, batch_size=batch_size, budget=Budget(steps=steps))
    history = last(toys(4, 9), settings)
    assert history.cost.steps <= steps
    assert history.cost.steps > steps - STEPS


@pytest.mark.parametrize("unit", ["steps", "vlm_calls"])
def test_no_scout_is_sent_that_could_not_be_painted_on(unit: str) -> None:
    looks = toys(1)  # which passes
    after_round = {"steps": STEPS + 2 * LOOK, "vlm_calls": 1 + 2 + 1}[unit]
    painting_on = {"steps": looks.generator.steps_from(FINISH_LEVEL), "vlm_calls": 1}[unit]
    settings = replace(SCOUTS, axes=("noise", "reflection"))
    for limit, sent in ((after_round + painting_on - 1, 0), (after_round + painting_on, 2)):
        history = last(toys(1), replace(settings, budget=Budget(**{unit: limit})))
        assert len(scouts_in(history)) == sent
        assert history.cost.images == (2 if sent else 1)


def test_where_no_picture_is_paid_for_any_more_no_scout_is_sent() -> None:
    history = last(toys(2, 9), replace(SCOUTS, budget=Budget(images=2)))
    assert history.cost.images == 2
    assert history.rounds[-1][0].action == FINISH  # the second picture, and nothing after it
    alone = last(toys(), replace(SCOUTS, budget=Budget(images=1)))
    assert [c.action for c in alone] == ["draft"]


def test_a_search_that_resumes_does_what_it_would_have_done() -> None:
    settings = replace(SCOUTS, batch_size=2)
    actors = {"generator": ToyGenerator(steps=STEPS), "verifier": ToyVerifier(pass_at=0.87)}
    steps = list(search(PROMPT, settings, Toys(**actors).actors()))
    assert any(c.action == FINISH for c in steps[-1])
    for step in steps[:-1]:
        resumed = last(Toys(**actors), settings, read_back(step))
        assert facts(resumed)[1] == facts(steps[-1])[1]


def test_a_deeper_search_begins_as_a_shallower_one() -> None:
    shallow, deep = (last(toys(5), replace(SCOUTS, depth=depth)) for depth in (4, 9))
    assert facts(History(deep.rounds[: len(shallow.rounds)]))[1] == facts(shallow)[1]


def test_a_scout_is_judged_even_where_its_preview_has_not_converged() -> None:
    looks = toys()
    looks.generator.preview = lambda requests, progress: [  # type: ignore[method-assign]
        replace(look, converged=False) for look in ToyGenerator().preview(requests, progress)
    ]
    history = last(looks, replace(SCOUTS, axes=("noise",)))
    assert scouts_in(history) and all(c.verdict.judged for c in history)


def test_a_corrector_without_previews_paints_its_scouts_whole() -> None:
    class Plain:
        """Corrects as its toy does, and knows nothing else."""

        steps = STEPS

        def __init__(self) -> None:
            self.paint = ToyCorrector().paint

    *_, history = search(PROMPT, SCOUTS, replace(toys().actors(), corrector=Plain()))
    corrected = [c for c in history if c.action == "correct"]
    assert corrected and all(c.finished and c.steps == STEPS for c in corrected)
    assert any(not c.finished for c in history)  # new beginnings are still only looked at
    budget = replace(SCOUTS, budget=Budget(steps=40))
    *_, limited = search(PROMPT, budget, replace(toys().actors(), corrector=Plain()))
    assert limited.cost.steps <= 40


@pytest.mark.parametrize("ability", ["preview", "steps_from"])
def test_a_generator_that_lacks_an_ability_is_refused_before_anything_is_painted(
    ability: str,
) -> None:
    whole = ToyGenerator()

    class Lacking:
        steps, preview_steps = 4, 1

        def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list:
            raise AssertionError("nothing is to be painted")

    if ability == "preview":
        Lacking.steps_from = whole.steps_from  # type: ignore[attr-defined]
    else:
        Lacking.preview = whole.preview  # type: ignore[attr-defined]
    actors = replace(toys().actors(), generator=Lacking())
    with pytest.raises(InputError, match="looks at previews of pictures and paints on from them"):
        list(search(PROMPT, SCOUTS, actors))


def test_zero_order_scouts_look_near_the_noise_that_a_picture_began_with() -> None:
    settings = replace(SCOUTS, noise_search="zero_order", depth=20)
    history = last(toys(2), settings)
    pivots = [scout.seed.pivot for scout in history if isinstance(scout.seed, Neighbour)]
    assert pivots and not any(isinstance(pivot, Restart) for pivot in pivots)


def test_a_verifier_that_compares_never_compares_with_a_scout() -> None:
    remembered: list[Sequence[Candidate]] = []

    @dataclass
    class Comparing(Scripted):
        def remember(self, prompt: str, candidates: Sequence[Candidate]) -> None:
            assert prompt == PROMPT
            remembered.append(candidates)

    looks = replace(toys(), verifier=Comparing(passing=(4,)))
    last(looks)
    assert all(candidate.finished for candidates in remembered for candidate in candidates)
    assert any(len(a) < len(b) for a, b in pairwise(remembered))


def test_a_run_comes_back_from_the_disk_and_its_report_shows_the_scouts(tmp_path: Path) -> None:
    history = History()
    with open_archive(tmp_path) as archive:
        archive.begin(Run(PROMPT, SCOUTS))
        for history in search(PROMPT, SCOUTS, toys(2, 9).actors()):
            archive.append(history)
    assert facts(read_recording(tmp_path).history) == facts(history)
    count = len(scouts_in(history))
    assert html_page(history, PROMPT, SCOUTS).count(" class=faded") == count > 0
    assert f"2 scouts a round · up to {SCOUTS.depth} rounds" in settings_text(SCOUTS)
    told, page = history_text(history), html_page(history, PROMPT, SCOUTS)
    pictures = [(slot, c.parent) for slot, c in history.placed if c.action == FINISH]
    names = {id(scout): candidate_name(*slot) for slot, scout in pictures}
    assert names
    for name in names.values():
        assert f"finished as {name}, " in told
        assert f'<span class="preview">finished as {name}</span>' in page
    assert told.count("preview only") == count - len(names)
    assert "Rings are previews." in page and "dropped" not in told + page
    data = as_data(history, PROMPT, SCOUTS)
    assert [c["finished"] for c in data["candidates"]] == [c.finished for c in history]
    assert contact_sheet(history, PROMPT, SCOUTS).size[0] > 0
