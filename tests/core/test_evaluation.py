"""Evaluations: what is counted, what is compared, and that a killed one resumes."""

from __future__ import annotations

import json
import pickle
import re
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from asking import corrections, drafts
from fakes import Toys

from reflectionflow_core.cli import main
from reflectionflow_core.cli.evaluate import READ_BY
from reflectionflow_core.cli.evaluate_options import STUDY_NAMES
from reflectionflow_core.cli.interrupt import PausedError
from reflectionflow_core.cli.options import cells, numbers
from reflectionflow_core.cli.watching import watch
from reflectionflow_core.evaluation import journal as module
from reflectionflow_core.evaluation.allocation import equal_allocation, portfolio_allocation
from reflectionflow_core.evaluation.arms import CONTROLS, Arm, actors_of
from reflectionflow_core.evaluation.cluster import RayWorker
from reflectionflow_core.evaluation.evaluation import (
    Evaluation,
    Results,
    evaluate,
    results_so_far,
)
from reflectionflow_core.evaluation.journal import part_of
from reflectionflow_core.evaluation.plots import line_styles, line_widths
from reflectionflow_core.evaluation.pool import WorkerPool
from reflectionflow_core.evaluation.prompts import held_out, meanings
from reflectionflow_core.evaluation.sharing import SharedSampling
from reflectionflow_core.evaluation.statistics import cost_ratio, difference, ratio, share
from reflectionflow_core.evaluation.studies import (
    SORTING,
    STUDIES,
    StudyPlan,
    studies_in,
    study_named,
)
from reflectionflow_core.evaluation.tables import (
    by_atoms,
    by_worth_if_hard,
    markdown,
    steps_against,
    tables_of,
)
from reflectionflow_core.evaluation.trial import Outcome, Spent, Trial, run_trial
from reflectionflow_core.evaluation.work import Trace, Traced
from reflectionflow_core.flux.painter import FluxPainter
from reflectionflow_core.miniature.prompts import FAMILIES, is_held_out, parse, sides
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.record import History, InputError, Verdict
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.search import UnjudgedError
from reflectionflow_core.settings import SearchSettings

SMALL = StudyPlan(budgets=(1, 2, 4), grid=((4, 1), (1, 4)), errors=(0.0, 0.3))


def pictures(*scores: tuple[float, bool]) -> Outcome:
    return Outcome("arm", 0, tuple(s for s, _ in scores), tuple(r for _, r in scores))


def test_success_is_the_truth_of_the_picture_that_the_verifier_ranks_first():
    with_errors = pictures((0.2, True), (0.9, False), (0.9, True), (1.0, True))
    assert [with_errors.success(n) for n in (1, 2, 3, 4, 99)] == [True, False, False, True, True]


def test_a_picture_that_was_not_judged_is_never_the_one_that_is_chosen():
    outcome = Outcome("arm", 0, (None, -3.0, None, -2.0), (True, False, True, True))
    assert [outcome.success(n) for n in range(5)] == [False, False, False, False, True]
    assert not Outcome("arm", 0, (None, None), (True, True)).success(2)


class Blind:
    """Judges the first pictures with the verifier of the miniature, and then nothing."""

    calls = 0

    def __init__(self, judged: int) -> None:
        self.left = judged

    def verify(self, prompt, images, progress=None):
        del progress
        known = ExactVerifier().verify(prompt, images)
        self.left -= len(images)
        return known if self.left >= 0 else [Verdict.unjudged("It is dark.")] * len(images)


def test_curves_that_run_together_are_drawn_one_inside_the_other():
    together, apart, short = [0.1, 0.5, 0.9], [0.1, 0.7, 0.8], [None, 0.5, 0.9]
    wide, inner, thin, last = line_widths([together, together, apart, short])
    assert wide > inner > thin == last
    assert line_widths([[0.5], [0.5]]) == [inner, thin]


@pytest.mark.parametrize("study", STUDIES)
def test_no_two_lines_of_a_plot_look_alike(study):
    names = [arm.name for arm in study_named(study)(StudyPlan())]
    assert len(set(line_styles(names))) == len(names)


@pytest.mark.parametrize(("judged", "painted"), [(0, 1), (2, 5)])
def test_a_trial_whose_pictures_cannot_be_judged_counts_them_and_ends(judged, painted):
    actors = replace(build_actors(ActorChoice(), SearchSettings()), verifier=Blind(judged))
    settings = SearchSettings(width=2, depth=9, strategy="noise", batch_size=1)
    outcome = run_trial(Trial(Arm("a", settings), 0, "a red circle", 1), actors)
    assert len(outcome.scores) == painted
    assert outcome.scores.count(None) == painted - judged
    assert outcome.success(99) == any(outcome.right[:judged])
    evaluation = Evaluation("table1", [Arm("a", settings)], held_out(1, 0, FAMILIES), 0, {})
    results = Results(evaluation, [json.loads(json.dumps({**asdict(outcome), "trace": {}}))])
    assert results.unjudged_text == (
        f"{painted - judged} of {painted} pictures could not be judged; none was chosen."
    )


def test_a_users_error_of_a_ray_worker_comes_back_as_it_was():
    def fail(error):
        def work(item):
            raise error

        return work

    for error in (InputError("Do this."), UnjudgedError(History(), "0 of 1 picture ...")):
        worker = RayWorker(lambda error=error: fail(error))
        answer = pickle.loads(pickle.dumps(worker(1)))
        assert (type(answer), str(answer)) == (type(error), str(error))


def test_success_can_be_asked_of_steps_and_calls_as_well_as_of_pictures():
    """The second picture was dropped early: it cost steps, and is no picture of the chain."""
    spent = (Spent(1, 10, 0, 0.1), Spent(2, 24, 3, 0.2), Spent(3, 34, 3, 0.3))
    outcome = Outcome("arm", 0, (0.1, 0.5, 0.9), (False, True, False), spent)
    assert [outcome.success(n, "steps") for n in (9, 10, 23, 24, 33, 34)] == [
        *(False, False, False, True, True, False)
    ]
    assert [outcome.success(n, "calls") for n in (0, 2, 3)] == [False, False, False]
    assert outcome.success(2) and not outcome.success(3) and not outcome.success(0)


def test_an_interval_holds_the_share_and_shrinks_with_the_number_of_prompts():
    few, many = np.tile([False, True, True, True], 5), np.tile([False, True, True, True], 500)
    narrow, wide = share(many), share(few)
    assert narrow.mean == wide.mean == 0.75
    assert wide.low < narrow.low < 0.75 < narrow.high < wide.high
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * (0.1875 / 2000) ** 0.5, rel=0.1)
    assert share(np.ones(4, bool)).low < 0.6  # four of four prove little


def test_a_paired_difference_is_sharper_than_its_two_intervals():
    rng = np.random.default_rng(0)
    theirs = rng.random(400) < 0.5
    ours = theirs | (rng.random(400) < 0.1)  # right wherever they are, and now and then more
    better = difference(ours, theirs)
    assert better.low > 0
    assert share(ours).low < share(theirs).high  # separate intervals overlap


def test_questions_are_held_out_and_equally_many_of_each_family():
    questions = held_out(7, seed=3)
    assert [q.family for q in questions] == [*FAMILIES] * 7
    assert questions[: 4 * len(FAMILIES)] == held_out(4, seed=3)
    assert all(is_held_out(parse(question.prompt)) for question in questions)
    assert questions == held_out(7, seed=3) != held_out(7, seed=4)


def test_questions_ask_for_something_new_as_long_as_their_family_has_it():
    for family in FAMILIES:
        there = len({spec.meaning for spec in sides(family, held_out=True)})
        for seed in (0, 1):
            assert meanings(held_out(90, seed, [family])) == min(90, there)
    one, other = ({q.prompt for q in held_out(60, seed, ["composition"])} for seed in (0, 1))
    assert len(one & other) < 20


@pytest.mark.parametrize("name", [*STUDIES, "all"])
def test_every_study_has_arms_of_different_names_and_known_controls(name):
    arms = study_named(name)(StudyPlan())
    assert len({arm.name for arm in arms}) == len(arms) > 1
    assert {arm.control for arm in arms} <= set(CONTROLS)


def test_all_studies_together_run_what_they_share_once():
    together = {arm.name: arm for arm in study_named("all")(StudyPlan())}
    apart = [arm for study in STUDIES.values() for arm in study(StudyPlan())]
    assert all(together[arm.name] == arm for arm in apart)
    assert len(together) < len(apart)


def test_scouts_are_compared_by_steps_alone_since_most_of_theirs_paint_no_picture():
    studies = {name for name in STUDIES for arm in STUDIES[name](StudyPlan()) if by_looks(arm)}
    assert studies == {"scouts"}


def by_looks(arm: Arm) -> bool:
    return arm.settings.strategy == "scouts"


def test_a_grid_spends_the_same_budget_in_every_cell():
    assert {arm.settings.scheduled_pictures for arm in study_named("table2")(StudyPlan())} == {16}


def test_what_cannot_be_evaluated_is_said_with_what_can():
    with pytest.raises(InputError, match="There is no study named"):
        study_named("table9")
    with pytest.raises(InputError, match="no strategy named 'magic'"):
        StudyPlan(strategies=("magic",))
    with pytest.raises(InputError, match="Give numbers of 1 or more"):
        StudyPlan(budgets=(0, 2))
    with pytest.raises(InputError, match="No strategy is given"):
        StudyPlan(strategies=())


BAD_REQUESTS = {
    "no family": (["--families", ","], "No family of prompts is given"),
    "too many prompts": (["--prompts", "100000000"], "Choose at most 100,000 per family"),
    "no strategy": (["--strategies", ""], "No strategy is given"),
    "a seed below zero": (["--seed", "-2"], "The seed is -2"),
    "the page's name": (["--json", "e.html"], "Choose a name that ends in .json"),
    "no name": (["--json", ""], "There is no file for the results"),
}


@pytest.mark.parametrize(("options", "message"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_request_that_makes_no_sense_is_refused_in_two_sentences(
    options, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "shapes", "--json", "e.json", "--quick", *options]) == 2
    said = capsys.readouterr().err
    assert message in said and re.fullmatch(r"reflectionflow: [^\n]+[.!?] [A-Z][^\n]+\.\n", said)
    assert not list(tmp_path.iterdir())


def test_what_stands_twice_in_a_list_is_measured_once():
    assert numbers("4, 1,4") == (4, 1)
    assert cells("4x1,1x4,4x1") == ((4, 1), (1, 4))


@pytest.mark.parametrize("live", [True, False])
def test_a_failure_begins_a_line_of_its_own(live, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: live)

    def failing():
        yield 0
        raise InputError("The power is off. Switch it on.")

    with pytest.raises(InputError):
        watch(failing(), 2, "searches")
    said = capsys.readouterr().err
    assert said.endswith("\n") and said.strip() == "0 of 2 searches"
    assert said.startswith("\r") == live


def test_a_study_that_is_given_hours_stops_after_them_and_says_how_to_go_on(capsys):
    with pytest.raises(PausedError, match=r"after 1 h 0 min with 3 of 9 searches done and kept; "):
        watch(iter(range(9)), 9, "searches", 1.0, clock=iter(range(0, 9000, 900)).__next__)
    watch(iter([8, 9]), 9, "searches", 1.0, clock=iter([0, 1, 9000]).__next__)  # all is done
    capsys.readouterr()


def test_a_study_in_parts_ends_as_one_that_ran_through(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "run_all", RandomTrials())
    asked = ["evaluate", "shapes", "--quick", "--prompts", "6", "--budgets", "1,2"]
    asked += ["--families", "colors,counting,position", "--json"]
    assert main([*asked, str(tmp_path / "whole.json")]) == 0
    parts, pieces = [*asked, str(tmp_path / "parts.json"), "--hours", "1e-9"], []
    while (status := main(parts)) == 3:
        said = capsys.readouterr().err.splitlines()[-1]
        assert "searches done and kept; give the same command again to continue." in said
        pieces.append(said)
        page = tmp_path / "parts.html"
        # Prompts are shown once every family has one more, that is after nine searches.
        assert page.exists() == ("The results of the first 3 prompts are in" in said)
        assert page.exists() == (len(pieces) >= 9)
        assert not page.exists() or "the first 3 of 6 prompts" in page.read_text("utf-8")
    assert status == 0 and len(pieces) == 17  # of 18 searches
    records = [json.loads((tmp_path / f"{name}.json").read_bytes()) for name in ("whole", "parts")]
    assert records[0]["outcomes"] == records[1]["outcomes"]
    assert records[0]["summary"] == records[1]["summary"]
    assert main([*asked, str(tmp_path / "none.json"), "--hours", "0"]) == 2
    assert "0 is not a time" in capsys.readouterr().err


def test_atoms_of_the_best_picture_are_averaged_over_prompts_in_both_ways():
    arm, prompts = Arm("a", SearchSettings(strategy="noise")), held_out(1, 0, FAMILIES)[:2]
    evaluation = Evaluation("table1", [arm], prompts, 0, {})
    kept = [
        Outcome("a", 0, (0.2, 0.9), (False, True), met=(0.5, 1.0)),
        Outcome("a", 1, (0.9, 0.2), (False, True), met=(0.75, 1.0)),  # the judge errs
    ]
    results = Results(evaluation, [{**asdict(outcome), "trace": {}} for outcome in kept])
    table = by_atoms(results, StudyPlan(budgets=(1, 2)))
    assert table.columns == tuple(
        f"{kind}, N = {n}" for n in (1, 2) for kind in ("mean share met (AM)", "all met (GM)")
    )
    [(name, cells)] = table.rows
    assert name == "a"
    assert [cell and cell.mean for cell in cells] == [0.625, 0.0, 0.875, 0.5]
    older = Results(evaluation, [{**asdict(replace(each, met=())), "trace": {}} for each in kept])
    assert by_atoms(older, StudyPlan(budgets=(1,))).rows == (("a", (None, None)),)


def test_steps_are_compared_with_the_fixed_search_and_the_one_that_stops():
    """Two prompts, one of them hard: theirs are right after 60 and 240 steps, ours after 30 and
    120; the fixed search takes all 480."""
    plan, prompts = StudyPlan(budgets=(1, 16)), held_out(1, 0, FAMILIES)[:2]
    arms = [SORTING, "reflection, 30 steps", "scouts, 30 steps"]
    evaluation = Evaluation("scouts", [Arm(n, SearchSettings()) for n in arms], prompts, 0, {})
    sorted_by = [(True,) * 10, (True,) + (False,) * 9]
    outcomes = [Outcome(SORTING, i, (1.0,) * 10, right) for i, right in enumerate(sorted_by)]
    for arm, both in zip(arms[1:], ((60, 240), (30, 120)), strict=True):
        for i, steps in enumerate(both):
            spent = Spent(1, steps, 0, 0.1)
            outcomes.append(Outcome(arm, i, (1.0,), (True,), (spent,), spent))
    results = Results(evaluation, [{**asdict(each), "trace": {}} for each in outcomes])
    means = {
        name: [cell and round(cell.mean, 3) for cell in cells]
        for name, cells in steps_against(results, plan).rows
    }
    assert means == {
        arms[1]: [0.5, 1.0, round(150 / 480, 3), 1.0, 1.0, 0.0],
        arms[2]: [0.25, 0.5, round(75 / 480, 3), 0.5, 0.5, 0.0],
    }
    hard = by_worth_if_hard(results, plan)
    assert hard.title == "right after S steps, 1 hard prompt" and hard.budgets == (30, 480)
    assert [[cell and cell.mean for cell in cells] for _, cells in hard.rows] == [[0, 1], [0, 1]]


@pytest.mark.parametrize("strategies", [("reflection",), ("baseline",), ("noise", "reflection")])
@pytest.mark.parametrize("study", READ_BY["strategies"])
def test_a_study_of_some_strategies_has_its_tables(study: str, strategies: tuple[str, ...]):
    plan, prompts = StudyPlan(strategies=strategies), held_out(1, 0, FAMILIES)[:1]
    evaluation = Evaluation(study, study_named(study)(plan), prompts, 0, {})
    spent = Spent(1, 20, 0, 0.1)
    outcomes = (Outcome(arm.name, 0, (0.9,), (True,), (spent,), spent) for arm in evaluation.arms)
    lines = [{**asdict(outcome), "trace": {}} for outcome in outcomes]
    first, *_ = tables_of(study, Results(evaluation, lines), plan)
    assert first.columns and all(any(cells) for _, cells in first.rows[-1:])


def test_arms_of_one_question_begin_with_the_same_pictures_unless_their_dice_differ():
    actors = build_actors(ActorChoice(), SearchSettings())
    noise = SearchSettings(width=2, depth=0, strategy="noise")
    longer = SearchSettings(width=2, depth=1, strategy="reflection")
    first, same, other = (
        run_trial(Trial(arm, 3, "a red circle", 5), actors).scores
        for arm in (Arm("a", noise), Arm("b", longer), Arm("c", noise, dice=1))
    )
    short, long = (toys_pictures(arm) for arm in (noise, longer))
    assert same[:2] == first and short == long[:2]
    assert len(other) == 2


def toys_pictures(settings: SearchSettings) -> list[bytes]:
    from reflectionflow_core.search import search

    *_, history = search("a red cube", settings, Toys().actors())
    return [candidate.image.tobytes() for candidate in history]


def test_controls_take_away_the_words_or_the_picture():
    toys = Toys()
    arm = Arm("mute", SearchSettings(), control="picture without reflection")
    mute = actors_of(arm, toys.actors(), seed=0)
    assert mute.writer is not None
    assert mute.writer.reflect("a", [object(), object()]) == ["", ""]  # type: ignore[list-item]
    actors = build_actors(ActorChoice(), SearchSettings())
    arm = Arm("blind", SearchSettings(), control="reflection without picture")
    blind = actors_of(arm, actors, seed=0).corrector
    asked = drafts(["a red circle", "two blue squares"], [1, 2])
    painted = actors.generator.paint(asked)
    assert blind is not None
    seen = [
        blind.paint(corrections([draft], ["a red circle"], ["add a blue square"], [7]))[0].tobytes()
        for draft in painted
    ]
    assert seen[0] == seen[1]  # whatever the picture was
    unasked = blind.paint(corrections([painted[0]], ["a red circle"], [""], [7]))[0].tobytes()
    assert unasked != seen[0]


def small(study: str = "table1", count: int = 1) -> Evaluation:
    return Evaluation(study, study_named(study)(SMALL), held_out(count), 0, {"model": "toy"})


class RandomTrials:
    """Stands in for searches: quick, and equal for equal trials."""

    def __init__(self, die_after: int = 10**9) -> None:
        self.die_after, self.ran = die_after, 0

    def __call__(self, trials, build, pool):
        for trial in trials:
            if self.ran == self.die_after:
                raise KeyboardInterrupt
            self.ran += 1
            rng = np.random.default_rng([len(trial.arm.name), trial.index])
            count = trial.arm.settings.scheduled_pictures
            right = tuple(bool(flip) for flip in rng.random(count) < 0.5)
            spent = tuple(Spent(n, 8 * n, 0, 0.5 * n) for n in range(1, len(right) + 1))
            scores, gains = tuple(map(float, right)), tuple(1 / (n + 1) for n in range(len(right)))
            found = (scores, right, spent, spent[-1], gains, (len(right),))
            outcome = Outcome(trial.arm.name, trial.index, *found)
            yield Traced(outcome, Trace(0.5 * len(right), "dice", 10**6 + self.ran, None))


@pytest.mark.parametrize("study", [*STUDIES, "all"])
def test_a_killed_evaluation_resumes_and_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, study):
    killed, whole = tmp_path / "killed.json", tmp_path / "whole.json"
    first, second = RandomTrials(die_after=4), RandomTrials()
    monkeypatch.setattr(module, "run_all", first)
    with pytest.raises(KeyboardInterrupt):
        list(evaluate(small(study), killed, Toys().actors, WorkerPool(1)))
    with part_of(killed).open("ab") as part:
        part.write(b'{"arm": "noi')  # cut off in the middle of a line
    monkeypatch.setattr(module, "run_all", second)
    counts = list(evaluate(small(study), killed, Toys().actors, WorkerPool(1)))
    assert counts[0] == 4 and counts[-1] == len(small(study).trials) == 4 + second.ran
    list(evaluate(small(study), whole, Toys().actors, WorkerPool(1)))
    tables = []
    for file in (killed, whole):
        results = results_so_far(small(study), file)
        pictures = sum(len(o.right) for arm in results.by_arm.values() for o in arm.values())
        cost = results.cost
        assert (cost["pictures"], cost["diffusion_steps"]) == (pictures, 8 * pictures)
        assert cost["seconds"] == 0.5 * pictures
        tables.append([t for s in studies_in(study) for t in tables_of(s, results, SMALL)])
        small(study).journal(file).finish({"outcomes": results.records})
    assert killed.read_bytes() == whole.read_bytes()
    assert list(map(markdown, tables[0])) == list(map(markdown, tables[1]))
    assert not part_of(killed).exists()


def test_results_stay_valid_if_arms_are_added_but_not_if_one_is_changed(tmp_path, monkeypatch):
    file, more = tmp_path / "e.json", Arm("more", SearchSettings(width=1, depth=0))
    monkeypatch.setattr(module, "run_all", RandomTrials())
    list(evaluate(small(), file, Toys().actors, WorkerPool(1)))
    before = part_of(file).read_bytes().splitlines()
    longer = replace(small(), arms=[more, *small().arms])
    counts = list(evaluate(longer, file, Toys().actors, WorkerPool(1)))
    after = part_of(file).read_bytes().splitlines()
    assert counts[0] == len(before) - 1 and after[1 : len(before)] == before[1:]
    assert counts[-1] == len(longer.trials) and json.loads(after[0])["arms"][0]["name"] == "more"
    first, *others = longer.arms
    for arms in (others, [replace(first, dice=3), *others]):  # one fewer, one changed
        with pytest.raises(InputError, match="belongs to another evaluation"):
            list(evaluate(replace(longer, arms=arms), file, Toys().actors, WorkerPool(1)))
    assert part_of(file).read_bytes().splitlines() == after


def test_an_evaluation_that_is_running_is_not_started_again(tmp_path, monkeypatch):
    file = tmp_path / "e.json"
    monkeypatch.setattr(module, "run_all", RandomTrials())
    running = evaluate(small(), file, Toys().actors, WorkerPool(1))
    assert [next(running), next(running)] == [0, 1]
    with pytest.raises(InputError, match=r"Another process is writing to .*e\.json\.part"):
        next(evaluate(small(), file, Toys().actors, WorkerPool(1)))
    *_, done = running
    lines = part_of(file).read_bytes().splitlines()
    assert done == len(small().trials) == len(lines) - 1
    part_of(file).write_bytes(b"\n".join([*lines[:2], *lines[1:], b""]))  # as two of 0.2 left it
    assert len(results_so_far(small(), file).lines) == done


def test_another_evaluation_is_not_resumed_and_damage_is_named(tmp_path, monkeypatch):
    file = tmp_path / "e.json"
    monkeypatch.setattr(module, "run_all", RandomTrials())
    list(evaluate(small(), file, Toys().actors, WorkerPool(1)))
    with pytest.raises(InputError, match="belongs to another evaluation"):
        list(evaluate(small(count=2), file, Toys().actors, WorkerPool(1)))
    slip = tmp_path / "slip.json"  # where nothing is done yet, another one may begin
    small(count=2).journal(slip).lines(dict)
    assert next(iter(evaluate(small(), slip, Toys().actors, WorkerPool(1)))) == 0
    began = part_of(file).read_bytes()
    part_of(file).write_bytes(began.replace(b'"format": 2', b'"format": 1', 1))
    with pytest.raises(InputError, match="written by another version"):
        list(evaluate(small(), file, Toys().actors, WorkerPool(1)))
    part_of(file).write_bytes(began.replace(b'"scores"', b'"score"', 1))
    with pytest.raises(InputError, match="is damaged"):
        list(evaluate(small(), file, Toys().actors, WorkerPool(1)))


@pytest.mark.slow
def test_all_studies_at_once_search_plot_and_hold_what_must_hold(tmp_path):
    """Two prompts say nothing of who is best: this looks at what holds for any prompt."""
    file = tmp_path / "all.json"
    fewer = "--families color_attr --prompts 2 --budgets 1,2 --grid 2x1,1x2 --processes 1"
    asked = ["evaluate", "shapes", "--out", str(file), "--quick", "--study", "all"]
    assert main([*asked, *fewer.split()]) == 0
    plots = {plot.name for plot in tmp_path.glob("*.png")}
    assert plots == {f"all-{study}.png" for study in STUDIES}
    tables = json.loads(file.read_bytes())["summary"]["tables"]
    assert set(tables) == set(STUDIES)
    shares = {
        (study, name): [cell["mean"] for cell in cells if cell]
        for study, several in tables.items()
        for table in several
        if table["title"].startswith("right")
        for name, cells in table["rows"].items()
    }
    assert all(0 <= share <= 1 for row in shares.values() for share in row)
    for strategy in ("noise", "noise+prompt", "reflection"):
        grown = shares["controls", strategy]
        assert len(grown) == 2 and grown == sorted(grown)
    assert shares["verifier", "noise, 20% error"][-1] <= shares["verifier", "noise"][-1]


def test_a_quick_evaluation_from_the_command_line_leaves_json_plot_and_page(tmp_path, capsys):
    file = tmp_path / "quick.json"
    asked = ["evaluate", "shapes", "--json", str(file), "--quick", "--prompts", "6"]
    asked += ["--families", "colors,counting,position"]
    assert main([*asked, "--budgets", "1,2", "--processes", "2"]) == 0
    record = json.loads(file.read_bytes())
    assert len(record["outcomes"]) == 18 and len(record["questions"]) == 6
    assert all(len(o["spent"]) == len(o["right"]) for o in record["outcomes"])
    assert record["outcomes"][0]["spent"][0][:3] == [1, 12, 0]
    assert record["provenance"]["command"].startswith("reflectionflow evaluate shapes --json ")
    assert record["provenance"]["cost"]["peak_memory_bytes"]["resident"] > 10**8
    assert record["summary"]["tables"]["table1"][1]["columns"] == ["N = 1", "N = 2"]
    assert (tmp_path / "quick-table1.png").read_bytes()[:4] == b"\x89PNG"
    assert "say nothing about FLUX.1-dev" in file.with_suffix(".html").read_text()
    assert "| noise |" in capsys.readouterr().out
    for left in (file, file.with_suffix(".html")):  # whoever moves one away keeps the other
        assert main([*asked, "--budgets", "1,2"]) == 2
        assert f"{left} exists already" in capsys.readouterr().err
        left.rename(tmp_path / f"moved-{left.name}")


def test_what_a_trial_spent_grows_with_every_picture_and_ends_with_all_of_it():
    actors = build_actors(ActorChoice(), SearchSettings())
    settings = SearchSettings(width=2, depth=1, strategy="reflection", batch_size=2)
    outcome = run_trial(Trial(Arm("a", settings), 0, "a red circle", 1), actors)
    assert [spent.images for spent in outcome.spent] == [1, 2, 3, 4]
    assert [spent.steps for spent in outcome.spent] == [12, 24, 36, 48]
    seconds = [spent.seconds for spent in outcome.spent]
    assert seconds == sorted(seconds) and seconds[0] > 0


def test_a_budget_for_all_prompts_goes_where_it_promises_most() -> None:
    """The first prompt is right at once, the second in its third picture, the third never."""
    found = [recorded(True), recorded(False, False, True), recorded(*[False] * 6)]
    assert equal_allocation(found, 6).tolist() == [True, False, False]
    assert equal_allocation(found, 7).tolist() == [True, False, False]  # the first gets the seventh
    assert equal_allocation(found, 9).tolist() == [True, True, False]
    assert portfolio_allocation(found, 2).tolist() == [True, False, False]
    assert portfolio_allocation(found, 6).tolist() == [
        True,
        True,
        False,
    ]  # in turns, three and two, and one
    assert portfolio_allocation(found, 100).tolist() == [True, True, False]


def recorded(*right: bool) -> Outcome:
    gains = tuple(0.0 if passed else 1 / (n + 2) for n, passed in enumerate(right))
    return Outcome(
        "arm", 0, tuple(map(float, right)), right, gains=gains, rounds=tuple(1 for _ in right)
    )


def test_a_ratio_is_of_sums_and_its_interval_of_prompts() -> None:
    theirs = np.tile([10.0, 30.0], 50)
    half = ratio(theirs / 2, theirs)
    assert half.mean == half.low == half.high == 0.5
    found = ratio(
        np.tile([20.0, 10.0], 50), theirs
    )  # worse on the cheap ones, better on the expensive
    assert found.low < found.mean == 0.75 < found.high


def test_what_it_costs_to_be_right_as_often_is_a_share_of_the_others_cost() -> None:
    budgets = np.arange(0, 9)
    at = np.tile([2, 4, 8, 99], 25)[:, None]  # when each of 100 prompts is right; some never are
    slow, quick, worse = (budgets >= at), (budgets >= at / 2), (budgets >= at * 2)
    assert cost_ratio(slow, slow, budgets).mean == 1
    assert (cost_ratio(quick, slow, budgets).mean, cost_ratio(quick, slow, budgets).high) == (
        *(0.5, 0.5),
    )
    assert cost_ratio(worse, slow, budgets).mean == 1  # it never gets there: at least all
    rare = budgets >= np.array([8, *[99] * 23])[:, None]  # no resample may call equal searches free
    assert cost_ratio(rare, rare, budgets).low == cost_ratio(rare, rare, budgets).high == 1


def test_trials_of_a_prompt_share_sampled_batches_and_end_as_they_do_alone(monkeypatch):
    actors, counted = build_actors(ActorChoice(), SearchSettings()), []
    own = FluxPainter.sample

    def sample(self, rows, *rest):
        counted.append(len(rows))
        return own(self, rows, *rest)

    monkeypatch.setattr(FluxPainter, "sample", sample)
    settings = SearchSettings(width=2, depth=1, strategy="reflection", batch_size=2)
    arms = [
        *(Arm("exact", settings, steps=3), Arm("errs", settings, steps=3, error=1.0)),
        *(Arm("longer", settings, steps=4), Arm("dice", settings, steps=3, dice=1)),
    ]
    prompt = "a photo of a red circle left of a blue square"
    trials = [Trial(arm, index, prompt, 5) for index in (3, 4) for arm in arms]
    alone = [run_trial(trial, actors) for trial in trials]
    assert counted == [2, 2] * len(trials)
    counted.clear()
    together = SharedSampling()
    outcomes = [run_trial(trial, actors, together) for trial in trials]
    assert [_untimed(outcome) for outcome in outcomes] == [_untimed(outcome) for outcome in alone]
    assert len(counted) < 2 * len(trials)
    assert len(counted) >= 2 * (2 * len(trials) // len(arms))
    first, again = (
        sum(spent.seconds for o in some for spent in o.spent) for some in (alone, outcomes)
    )
    assert again > 0.3 * first  # what is shared counts as if it were painted


def _untimed(outcome):
    spent = [each._replace(seconds=0.0) for each in (*outcome.spent, outcome.total)]
    return replace(outcome, spent=tuple(spent), total=None)


def test_an_arm_may_take_its_own_number_of_steps():
    actors = build_actors(ActorChoice(), SearchSettings())
    settings = SearchSettings(width=1, depth=1, strategy="reflection")
    outcome = run_trial(Trial(Arm("a", settings, steps=3), 0, "a red circle", 1), actors)
    assert [spent.steps for spent in outcome.spent] == [3, 6]
    assert outcome.rounds == (1, 1) and len(outcome.gains) == 2


def test_the_studies_are_named_where_they_are_offered() -> None:
    assert {*STUDIES, "all"} == set(STUDY_NAMES)
