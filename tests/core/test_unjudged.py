"""Pictures that no verifier could judge: `pytest tests/core/test_unjudged.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes import SIDE, ToyVerifier
from PIL import Image

from reflectionflow_core.archive.lines import OLD_FAILURE, entry_of, parse
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import Candidate, Cost, History, Verdict
from reflectionflow_core.report import html_page, verdict_text
from reflectionflow_core.search.policies import BACKTRACK, progress
from reflectionflow_core.search.portfolio import expected_gain
from reflectionflow_core.search.strategies.reflection import choose_parents
from reflectionflow_core.search.unjudged import unjudged_text
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.verifiers.ensemble import EnsembleMember, EnsembleVerifier
from reflectionflow_core.verifiers.noisy import NoisyVerifier

WORDS = "The endpoint mine answered 401 (unauthorized); check the api_key of its profile."
UNJUDGED = Verdict.unjudged(WORDS)


def candidate(verdict: Verdict, **how: Any) -> Candidate:
    return Candidate(Image.new("RGB", (SIDE, SIDE)), "a cat", 0, verdict, **how)


@dataclass
class Moody(ToyVerifier):
    """A ToyVerifier that fails at the pictures of some numbers, counted over all its life."""

    fails: Sequence[int] | range = ()
    seen: list[Verdict] = field(default_factory=list)

    def verify(
        self, prompt: str, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        known = super().verify(prompt, images, progress)
        start = len(self.seen)
        given = [UNJUDGED if start + i in self.fails else v for i, v in enumerate(known)]
        self.seen += given
        return given


@pytest.mark.parametrize("score", [-30.0, -1.0, 0.0, -1e300])
def test_a_picture_that_was_not_judged_ranks_below_every_score(score: float) -> None:
    assert UNJUDGED.score is None
    assert UNJUDGED.rank < Verdict(score).rank == score
    assert (UNJUDGED.judged, Verdict(score).judged) == (False, True)
    assert (UNJUDGED.failure, Verdict(score, explanation="It is dark.").failure) == (WORDS, None)


def test_a_verdict_without_score_needs_a_reason_and_has_no_result() -> None:
    for reason, passed in (("", None), (" ", None), ("x", False), ("x", True)):
        with pytest.raises(ValueError, match="needs a reason and has no result"):
            Verdict(None, passed, explanation=reason)
    with pytest.raises(ValueError, match="has no result"):
        Verdict(None, unmet=("a cup",), explanation="x")
    assert Verdict.unjudged(" ").failure == "No reason was given."


def test_the_best_is_a_judged_one_whatever_it_scores() -> None:
    first, worst = candidate(UNJUDGED), candidate(Verdict(-1e9))
    history = History(((first, worst),))
    assert history.best is worst
    assert history.unjudged == [first]
    assert History(((first,),)).best is first


def test_a_failure_is_written_as_null_and_read_back() -> None:
    made = candidate(Verdict.unjudged(WORDS, {"clip": 0.5}))
    entry = entry_of(made, 0, (0, 0), None, Cost(images=1))
    record = json.loads(entry.line())
    assert (record["score"], record["passed"], record["explanation"]) == (None, None, WORDS)
    assert parse(entry.line()).verdict == made.verdict
    for damage in ({"passed": True}, {"explanation": ""}, {"unmet": ["x"]}):
        with pytest.raises(ValueError, match="without a score"):
            parse(json.dumps({**record, **damage}).encode())


@pytest.mark.parametrize("score", [-30.0, -1.0, 0.0])
def test_a_failure_of_an_older_history_is_read_as_one(score: float) -> None:
    record = entry_of(candidate(Verdict(1)), 0, (0, 0), None, Cost(images=1)).record()
    old = {**record, "score": score, "explanation": f"{OLD_FAILURE}{WORDS}"}
    assert parse(json.dumps(old).encode()).verdict == UNJUDGED
    judged = {**old, "passed": False}  # no failure had a result
    assert parse(json.dumps(judged).encode()).verdict.score == score


def test_how_many_could_not_be_judged_is_said_in_the_verifiers_words() -> None:
    judged, other = candidate(Verdict(1)), candidate(Verdict.unjudged("It is dark."))
    failed = candidate(UNJUDGED)
    assert unjudged_text(History(((judged,),))) == ""
    assert unjudged_text(History()) == ""
    assert unjudged_text(History(((failed,),))) == f"0 of 1 picture could be judged: {WORDS}"
    assert unjudged_text(History(((failed, judged), (failed,)))) == (
        f"2 of 3 pictures could not be judged: {WORDS}"
    )
    assert unjudged_text(History(((other, failed, failed, judged),))) == (
        f"3 of 4 pictures could not be judged: {WORDS} (2 of them) It is dark. (1 of them)"
    )


def test_an_ensemble_does_not_judge_with_fewer_judges_than_it_has() -> None:
    moody, toy = Moody(fails=[0, 2]), ToyVerifier()
    both = [EnsembleMember("moody", moody), EnsembleMember("toy", toy)]
    images = [Image.new("RGB", (SIDE, SIDE), (i * 50, 0, 0)) for i in range(4)]
    ensemble = EnsembleVerifier(both)
    failed, first, again, last = ensemble.verify("a cat", images)
    assert failed.failure == again.failure == WORDS
    assert set(failed.aspects) == {"toy"}
    assert first.score is not None and last.score is not None
    gated = EnsembleVerifier([EnsembleMember("toy", toy)], gate=Moody(fails=[1]))
    assert [v.judged for v in gated.verify("a cat", images[:2])] == [True, False]


def test_an_ensemble_compares_with_the_first_score_of_each_member_also_after_a_crash() -> None:
    images = [Image.new("RGB", (SIDE, SIDE), (i * 40, 0, 0)) for i in range(6)]

    def joined(fails: Sequence[int]) -> EnsembleVerifier:
        moody = EnsembleMember("moody", Moody(fails=fails), spread=0.1)
        return EnsembleVerifier([moody, EnsembleMember("toy", ToyVerifier())])

    whole = joined([0, 3]).verify("a cat", images)
    known = [
        Candidate(image, "a cat", 0, verdict) for image, verdict in zip(images, whole, strict=True)
    ]
    for cut in range(len(images)):
        later = joined([i - cut for i in (0, 3)])
        later.remember("a cat", known[:cut])
        assert later.verify("a cat", images[cut:]) == whole[cut:]


def test_an_erring_judge_makes_no_verdict_of_a_failure() -> None:
    noisy = NoisyVerifier(Moody(fails=[0]), error_rate=1.0)
    image = Image.new("RGB", (SIDE, SIDE))
    assert noisy.verify("a cat", [image]) == [UNJUDGED]
    assert noisy.verify("a cat", [image])[0].passed is True


def test_a_chain_goes_on_from_what_was_judged() -> None:
    draft = candidate(Verdict(0.1))
    failed = candidate(UNJUDGED, parent=draft)
    better = candidate(Verdict(0.2), parent=draft)
    settings = SearchSettings()
    assert settings.parents == "latest"
    parents = choose_parents(settings, [draft, draft, failed], [failed, better, failed])
    assert parents == [draft, better, failed]
    past = History(((draft,), (failed,)))
    assert progress(settings, past, [draft, failed]) == BACKTRACK


def test_what_was_not_judged_promises_nothing_to_a_portfolio() -> None:
    far = candidate(Verdict(0.1, False, unmet=("a", "b", "c")))
    failed = candidate(UNJUDGED)
    assert expected_gain(History(((far, failed),))) == expected_gain(History(((far,),)))
    assert expected_gain(History(((failed,),))) == 1.0


def test_reports_show_a_failure_in_its_words_and_no_number() -> None:
    assert verdict_text(UNJUDGED) == f"not judged: {WORDS}"
    history = History(((candidate(UNJUDGED), candidate(Verdict(0.25))),))
    page = html_page(history, "a cat")
    assert WORDS in page
    assert 'class="unjudged"' in page
    assert "not judged" in page
    for lost in ("inf", "nan", "None"):
        assert f">{lost}" not in page.lower() and f"-{lost}" not in page.lower()
    assert math.isinf(UNJUDGED.rank)
