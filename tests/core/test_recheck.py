"""Corrections judged by what their parents lacked: the same passes, fewer questions."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from fakes import Toys, ToyVerifier, examples
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from PIL import Image
from scripted_vlm import ScriptedVlm

from reflectionflow_core.protocols import Rechecking
from reflectionflow_core.record import History, Verdict
from reflectionflow_core.search import search
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.vlm.interface import Failure, Question

PROMPT = "two red cups left of a plate"
WORDS = ("cups", "plate", "left", "red")
LIST = json.dumps(
    {
        "requirements": [
            {"statement": f"{w} seen", "question": f"Is {w} seen?", "fault": f"missing {w}"}
            for w in WORDS
        ]
    }
)


def level(question: Question) -> int:
    value = question.images[0].getpixel((0, 0))
    assert isinstance(value, int)
    return value


def judge(answers: Sequence[Sequence[float | None]]) -> ChecklistVerifier:
    """Knows picture number i by its level; None is a question that the model fails at."""

    def choose(question: Question):
        told = answers[level(question)]
        p = next(p for word, p in zip(WORDS, told, strict=True) if f"Is {word} " in question.text)
        return Failure("Busy.") if p is None else (p, 1 - p)

    return ChecklistVerifier(ScriptedVlm(lambda _: LIST, choose))


def asked(verifier: ChecklistVerifier) -> list[str]:
    """The words that the model was asked about, in order, without the taking apart."""
    assert isinstance(verifier.vlm, ScriptedVlm)
    texts = [question.text for question in verifier.vlm.asked[1:]]
    return [word for text in texts for word in WORDS if f"Is {word} " in text]


def picture(number: int) -> Image.Image:
    return Image.new("L", (2, 2), number)


def before_and_after(
    first: Sequence[float | None], second: Sequence[float | None]
) -> tuple[ChecklistVerifier, Verdict, Verdict]:
    verifier = judge([first, second])
    (before,) = verifier.verify(PROMPT, [picture(0)])
    (after,) = verifier.recheck(PROMPT, [picture(1)], [before])
    return verifier, before, after


def test_only_what_was_unmet_is_asked_while_something_is_still_unmet() -> None:
    verifier, before, after = before_and_after([0.9, 0.2, 0.1, 0.8], [0.3, 0.9, 0.2, 0.3])
    assert asked(verifier)[4:] == ["plate", "left"]
    assert after.unmet == ("missing left",)
    assert after.passed is False
    assert dict(after.aspects) == {**before.aspects, "plate seen": 0.9, "left seen": 0.2}
    assert after.explanation == "not asked again: cups seen; not asked again: red seen"
    assert after.rank > before.rank


def test_all_is_asked_before_a_picture_passes_and_what_broke_is_found() -> None:
    verifier, _, mended = before_and_after([0.9, 0.2, 0.9, 0.8], [0.9, 0.9, 0.9, 0.9])
    assert asked(verifier)[4:] == ["plate", "cups", "left", "red"]
    assert mended.passed is True
    _, _, broken = before_and_after([0.9, 0.2, 0.9, 0.8], [0.1, 0.9, 0.9, 0.9])
    assert broken.passed is False
    assert broken.unmet == ("missing cups",)
    assert broken.explanation == ""


def test_what_was_unknown_is_asked_again() -> None:
    verifier, before, _ = before_and_after([0.9, None, 0.1, 0.8], [0.9, 0.9, 0.2, 0.9])
    assert before.passed is None
    assert asked(verifier)[4:] == ["plate", "left"]


def test_a_verdict_of_somebody_else_carries_nothing_over() -> None:
    verifier = judge([[0.9] * 4])
    (verdict,) = verifier.recheck(
        PROMPT, [picture(0)], [Verdict(0.2, False, {"other": 1.0}, ("x",))]
    )
    assert len(asked(verifier)) == 4
    assert verdict.passed is True


shares = st.lists(st.sampled_from([0.1, 0.4, 0.6, 0.9]), min_size=4, max_size=4)


@effort(max_examples=examples(200), deadline=None)
@given(st.lists(shares, min_size=2, max_size=6))
def test_along_a_chain_it_passes_what_a_full_check_passes(chain: list[list[float]]) -> None:
    full, short = judge(chain), judge(chain)
    verdict: Verdict | None = None
    for number in range(len(chain)):
        (whole,) = full.verify(PROMPT, [picture(number)])
        (verdict,) = short.recheck(PROMPT, [picture(number)], [verdict])
        assert verdict.passed == whole.passed
        if whole.passed:
            assert verdict == whole
    assert len(asked(short)) <= len(asked(full))


def scripted_by_picture() -> ChecklistVerifier:
    """Answers that follow from question and picture, as a model's do that is asked greedily."""

    def choose(question: Question):
        told = sha256(question.text.encode() + question.images[0].tobytes()).digest()
        p = 0.9 if told[0] < 190 else 0.1
        return p, 1 - p

    return ChecklistVerifier(ScriptedVlm(lambda _: LIST, choose))


def run(recheck: bool, seed: int) -> History:
    toys = replace(Toys().actors(), verifier=scripted_by_picture())
    settings = SearchSettings(width=2, depth=6, seed=seed, recheck=recheck)
    (history,) = deque(search(PROMPT, settings, toys), maxlen=1)
    return history


def test_a_search_with_rechecks_passes_the_same_pictures_for_fewer_calls() -> None:
    for seed in range(5):
        verifier = scripted_by_picture()
        history = run(True, seed)
        full = verifier.verify(PROMPT, [candidate.image for candidate in history])
        assert [c.verdict.passed for c in history] == [verdict.passed for verdict in full]
        questions = 1 + 4 * len(history)
        texts = 2 * 12  # writer and evolver, once a correction
        assert history.cost.vlm_calls < questions + texts
        assert run(False, seed).cost.vlm_calls == questions + texts


def test_only_corrections_are_rechecked_and_only_by_who_can() -> None:
    assert isinstance(scripted_by_picture(), Rechecking)
    assert not isinstance(ToyVerifier(), Rechecking)
    settings = SearchSettings(width=2, depth=3, strategy="noise+prompt", recheck=True)
    toys = replace(Toys().actors(), verifier=scripted_by_picture())
    (history,) = deque(search(PROMPT, settings, toys), maxlen=1)
    assert not any("not asked again" in c.verdict.explanation for c in history)
