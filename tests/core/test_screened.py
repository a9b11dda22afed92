"""A cheap verifier ranks a batch, and another one looks at the best of it only."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import Toys
from PIL import Image
from scripted_vlm import ScriptedVlm

from reflectionflow_core.cli import main
from reflectionflow_core.identity import identity
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.protocols import SILENT, Progress, Remembering, Screening
from reflectionflow_core.record import Candidate, InputError
from reflectionflow_core.registry import ActorChoice, build_verifier
from reflectionflow_core.search import search
from reflectionflow_core.search.acceptance import broken_by, requirements_of
from reflectionflow_core.settings import Budget, SearchSettings
from reflectionflow_core.verdict import Verdict
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.verifiers.ensemble import EnsembleMember
from reflectionflow_core.verifiers.screened import ScreenedVerifier
from reflectionflow_core.vlm.interface import Failure, Question

PROMPT = "a red cup"
DOWN = Failure("The server does not answer.")


def pictures(*levels: int) -> list[Image.Image]:
    return [Image.new("L", (2, 2), level) for level in levels]


def level(image: Image.Image) -> int:
    value = image.getpixel((0, 0))
    assert isinstance(value, int)
    return value


class Scalar:
    """Scores by brightness, without a model; knows what it was asked."""

    calls = 0

    def __init__(self, score: Callable[[int], float | None] = float) -> None:
        self.score, self.asked = score, [0][:0]

    def verify(
        self, prompt: str, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        del prompt, progress
        self.asked += map(level, images)
        scores = [self.score(level(image)) for image in images]
        return [Verdict.unjudged("No eyes.") if s is None else Verdict(s) for s in scores]


class Keeper(Scalar):
    """One that remembers."""

    remembered: Sequence[Candidate] = ()

    def remember(self, prompt: str, candidates: Sequence[Candidate]) -> None:
        self.remembered = candidates


def checklist() -> tuple[ChecklistVerifier, ScriptedVlm]:
    items = [{"statement": f"{i}", "question": f"Is it {i}?", "fault": f"not {i}"} for i in "ab"]

    def choose(question: Question) -> tuple[float, float]:
        p = level(question.images[0]) / 255
        return p, 1 - p

    vlm = ScriptedVlm(lambda _: json.dumps({"requirements": items}), choose)
    return ChecklistVerifier(vlm), vlm


def screened(
    score: Callable[[int], float | None] = float, shortlist: int = 2
) -> tuple[ScreenedVerifier, ScriptedVlm]:
    verifier, vlm = checklist()
    screen = EnsembleMember("cheap", Scalar(score), spread=10.0)
    return ScreenedVerifier(screen, verifier, 0.0, shortlist), vlm


def test_only_the_best_of_a_batch_are_looked_at() -> None:
    verifier, vlm = screened()
    verdicts = verifier.verify(PROMPT, pictures(10, 200, 30, 240, 50))
    assert [level(q.images[0]) for q in vlm.asked[1:]] == [200, 200, 240, 240]
    assert verifier.spent == 5
    best = [v.score for v in verdicts if v.score is not None and v.score >= 0]
    assert best == [verdicts[1].score, verdicts[3].score]
    assert verdicts[3].passed is True
    assert verdicts[3].aspects == {"a": 240 / 255, "b": 240 / 255, "screened by cheap": 240.0}


def test_pictures_that_nobody_looked_at_rank_below_and_among_themselves_by_the_screen() -> None:
    verifier, _ = screened()
    low, worst, high, mid, best = verifier.verify(PROMPT, pictures(90, 80, 250, 100, 255))
    ranks = [v.rank for v in (worst, low, mid, high, best)]
    assert ranks == sorted(ranks) and len(set(ranks)) == 5
    for left in (worst, low, mid):
        assert left.score is not None and -1 < left.score < 0
        assert (left.passed, left.unmet) == (None, ())
        assert left.explanation == "Not looked at: 2 of its batch rank higher by cheap."
        assert left.judged


def test_a_picture_that_was_looked_at_and_is_all_wrong_is_above_those_that_were_not() -> None:
    verifier, _ = screened(lambda value: -value)  # a screen that prefers what is wrong
    wrong, right, _ = verifier.verify(PROMPT, pictures(0, 255, 1))
    assert wrong.passed is False
    assert wrong.rank > right.rank


def test_the_earlier_of_equals_is_looked_at() -> None:
    verifier, vlm = screened(lambda _: 1.0, shortlist=1)
    verifier.verify(PROMPT, pictures(7, 8, 9))
    assert {level(q.images[0]) for q in vlm.asked[1:]} == {7}


def test_a_picture_that_the_screen_cannot_judge_is_looked_at() -> None:
    verifier, vlm = screened(lambda value: None if value == 5 else float(value), shortlist=1)
    verdict = verifier.verify(PROMPT, pictures(5, 90, 80))[0]
    assert {level(q.images[0]) for q in vlm.asked[1:]} == {5, 90}
    assert "cheap" not in verdict.aspects


def test_a_picture_that_was_looked_at_in_vain_is_not_judged() -> None:
    verifier, vlm = screened(shortlist=1)
    vlm.on_choose = lambda _: DOWN
    failed, left = verifier.verify(PROMPT, pictures(90, 80))
    assert failed.failure == DOWN.reason
    assert failed.aspects == {"screened by cheap": 90.0}
    assert left.rank > failed.rank


def test_a_score_of_the_screen_stays_what_it_is_whoever_asked_before() -> None:
    verifier, _ = screened(shortlist=1)
    first = verifier.verify(PROMPT, pictures(100, 90))
    candidates = [Candidate(i, PROMPT, 0, v) for i, v in zip(pictures(100, 90), first, strict=True)]
    alone = verifier.verify(PROMPT, pictures(120, 110))[1]
    fresh, _ = screened(shortlist=1)
    fresh.verify(PROMPT, pictures(3, 2))
    fresh.remember(PROMPT, candidates)
    assert fresh.verify(PROMPT, pictures(120, 110))[1] == alone
    fresh.remember(PROMPT, [])
    assert fresh.verify(PROMPT, pictures(120, 110))[1].score != alone.score


def test_who_compares_pictures_remembers_those_that_it_looked_at() -> None:
    keeper = Keeper()
    verifier = ScreenedVerifier(EnsembleMember("cheap", Keeper()), keeper, 0.0, 1)
    assert isinstance(verifier, Remembering)
    seen = Candidate(pictures(1)[0], PROMPT, 0, Verdict(0.5, aspects={"cheap": 3.0}))
    left = replace(seen, verdict=Verdict(-0.5, aspects={"cheap": 2.0}))
    verifier.remember(PROMPT, [left, seen])
    assert list(keeper.remembered) == [seen]
    screen = verifier.screen.verifier
    assert isinstance(screen, Keeper)
    assert [c.score for c in screen.remembered] == [2.0, 3.0]


def test_a_screens_score_is_no_requirement_that_a_correction_can_break() -> None:
    verifier, _ = screened(lambda level: level / 255)
    (parent,) = verifier.verify(PROMPT, pictures(130))
    after = replace(parent, aspects={**parent.aspects, "screened by cheap": 0.4}, passed=None)
    assert parent.aspects["screened by cheap"] > 0.5
    assert set(requirements_of(parent)) == {"a", "b"} and not broken_by(parent, after)


def test_what_runs_of_before_called_the_screens_score_is_still_remembered() -> None:
    keeper = EnsembleMember("cheap", Keeper(), spread=10.0)
    verifier = ScreenedVerifier(keeper, checklist()[0], 0.0)
    image = pictures(9)[0]
    old = Candidate(image, PROMPT, 0, Verdict(0.5, aspects={"cheap": 7.0}))
    verifier.remember(PROMPT, [old])
    assert isinstance(keeper.verifier, Keeper)
    assert [c.score for c in keeper.verifier.remembered] == [7.0]


def test_a_prompt_that_the_verifier_cannot_judge_is_refused_before_the_first_picture() -> None:
    screen = EnsembleMember("cheap", Scalar())
    with pytest.raises(InputError, match="does not understand"):
        ScreenedVerifier(screen, ExactVerifier(), 0.0).verify("a cat", [])


def test_a_recheck_asks_only_what_the_parents_lacked() -> None:
    verifier, vlm = screened(shortlist=1)
    parent = Verdict(0.4, False, {"a": 0.9, "b": 0.1}, ("not b",))
    verifier.verify(PROMPT, pictures(1, 2))
    begun = len(vlm.asked)
    verifier.recheck(PROMPT, pictures(100, 90), [parent, parent])
    assert ["Is it b?" in q.text for q in vlm.asked[begun:]] == [True]


def test_a_search_behind_a_screen_ends_at_a_picture_that_was_looked_at() -> None:
    toys = Toys()
    settings = SearchSettings(
        width=6, depth=1, strategy="noise", batch_size=6, budget=Budget(vlm_calls=100)
    )
    member = EnsembleMember("cheap", toys.verifier)
    actors = replace(toys.actors(), verifier=ScreenedVerifier(member, toys.verifier, 0.0, 2))
    (history,) = deque(search(PROMPT, settings, actors), maxlen=1)
    looked = [c for c in history if c.rank >= 0]
    assert len(history) == 12
    assert len(looked) == 4
    assert history.best in looked


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SearchSettings(), "at most 1 of this search's pictures are judged together"),
        (SearchSettings(batch_size=8), "at most 2 of this .* Choose more drafts"),
        (SearchSettings(batch_size=8, strategy="adaptive", depth=0), "at most 1 of this"),
        (
            SearchSettings(batch_size=8, width=4),
            "4 chains continue .* shortlist of 2 .* at least 4, or fewer chains",
        ),
    ],
)
def test_a_shortlist_that_saves_nothing_or_starves_chains_is_refused(settings, message) -> None:
    toys = Toys()
    verifier = ScreenedVerifier(EnsembleMember("cheap", toys.verifier), toys.verifier, 0.0)
    assert isinstance(verifier, Screening)
    with pytest.raises(InputError, match=message):
        next(search(PROMPT, settings, replace(toys.actors(), verifier=verifier)))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (ActorChoice(screen="exact+noisy"), "screen exact.noisy is several verifiers. Give one"),
        (ActorChoice(screen="gone"), "no verifier named 'gone'"),
        (ActorChoice(shortlist=3), "shortlist has no effect without --screen. Give a screen"),
        (ActorChoice(screen="exact", shortlist=0), "shortlist is 0. Give a number of 1 or more"),
        (ActorChoice(screen="clip-score"), "clip-score needs a CLIP"),
    ],
)
def test_a_screen_that_cannot_be_is_refused(choice: ActorChoice, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_verifier(choice)


def test_a_verifier_whose_scores_have_no_lower_end_is_refused_behind_a_screen(tmp_path) -> None:
    from core.tiny_judges import save_clip

    folder = save_clip(tmp_path / "clip")
    with pytest.raises(InputError, match=r"have no lower limit.*Choose checklist"):
        build_verifier(ActorChoice(verifier=f"clip-score:{folder}", screen="exact", device="cpu"))
    behind = ActorChoice(screen=f"clip-score:{folder}", device="cpu", shortlist=3)
    verifier = build_verifier(behind)
    assert isinstance(verifier, ScreenedVerifier)
    assert (verifier.screen.name, verifier.shortlist, verifier.lowest) == (behind.screen, 3, 0.0)
    joined = build_verifier(replace(behind, verifier="exact+noisy"))
    assert isinstance(joined, ScreenedVerifier)
    before = identity(behind)["screen"]
    assert before.startswith("1*clip-score:") and str(folder) not in before


def test_the_command_line_screens_and_a_run_keeps_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["run", "a red circle", "--out", str(out), "--strategy", "noise", "--width", "4"]
    command += ["--depth", "1", "--batch-size", "4", "--screen", "noisy", "--shortlist", "1"]
    assert main([*command, "--steps", "2"]) == 0
    record = json.loads((out / "run.json").read_text())
    assert (record["actors"]["screen"], record["actors"]["shortlist"]) == ("noisy", 1)
    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    scores = [line["score"] for line in lines if "score" in line]
    assert sum(score < 0 for score in scores) == 6
