"""NVILA's own way of a yes or no: its text, label first, then the label's logit."""

from __future__ import annotations

import math

import pytest
from PIL import Image
from scripted_vlm import ScriptedVlm
from vlm_asking import endpoint_of
from vlm_server import Asked, Reply, VlmServer, says

from reflectionflow_core.verifiers.yes_no import NvilaVerifier, YesNoVerifier
from reflectionflow_core.vlm.interface import Failure, LogitVlm
from reflectionflow_core.vlm.likelihoods import best_scores

PICTURES = [Image.new("RGB", (2, 2), (level, 0, 0)) for level in range(6)]
# Raw logits of yes and no. By log-odds the third would come first and the last picture fourth.
LOGITS = [(19.0, 17.0), (22.0, 21.5), (20.0, 12.0), (11.0, 16.0), (19.5, 20.0), (3.0, 4.0)]
ORDER = [1, 2, 0, 5, 3, 4]


def replies(pairs: list[tuple[float, float]]):
    """Answers in the order of the questions, which are asked one by one."""

    def script(asked: Asked) -> Reply:
        yes, no = pairs[asked.number]
        first, second = (("yes", yes), ("no", no)) if yes > no else (("no", no), ("yes", yes))
        return says(first[0], tops=dict([first, second, ("Maybe", min(yes, no) - 3)]))

    return script


def judged(pairs: list[tuple[float, float]], verifier: type = NvilaVerifier):
    with VlmServer(replies(pairs)) as server:
        endpoint = endpoint_of(server)
        assert isinstance(endpoint, LogitVlm)
        found = verifier(endpoint)
        verdicts = [found.verify("a red cup", [picture])[0] for picture in PICTURES[: len(pairs)]]
    return verdicts, server.asked


def test_the_label_comes_first_and_then_its_raw_logit() -> None:
    verdicts, _ = judged(LOGITS)
    scores = [verdict.rank for verdict in verdicts]
    assert sorted(range(6), key=lambda i: -scores[i]) == ORDER
    assert [verdict.passed for verdict in verdicts] == [True] * 3 + [False] * 3
    assert scores[:2] == [119.0, 122.0] and scores[3] == -116.0


def test_log_probabilities_keep_the_labels_apart_and_order_within() -> None:
    pairs = [(math.log(p), math.log(1 - p)) for p in (0.6, 0.99, 0.45, 0.01)]
    verdicts, _ = judged(pairs)
    scores = [verdict.rank for verdict in verdicts]
    assert scores[1] > scores[0] > 0 > scores[2] > scores[3]
    assert verdicts[0].aspects["yes"] == pytest.approx(0.6)


def test_it_is_asked_in_the_words_of_its_training_and_without_a_system_text() -> None:
    _, asked = judged([(1.0, 0.0)])
    assert [message["role"] for message in asked[0].body["messages"]] == ["user"]
    assert "The given prompt is:a red cup. Please consider" in asked[0].text
    assert asked[0].text.endswith("response directly with 'yes' or 'no'.")
    assert len(asked[0].pictures) == 1


def test_our_own_style_reads_raw_logits_as_odds() -> None:
    (verdict,), _ = judged([(22.0, 20.0)], YesNoVerifier)
    assert verdict.rank == pytest.approx(2.0)


def test_a_model_that_shows_no_logits_is_ordered_by_its_probabilities() -> None:
    odds = {0: (0.8, 0.2), 1: (0.3, 0.7), 2: (1.0, 0.0)}
    vlm = ScriptedVlm(on_choose=lambda q: odds[q.images[0].getpixel((0, 0))[0]])  # type: ignore[index]
    scores = [verdict.rank for verdict in NvilaVerifier(vlm).verify("a cup", PICTURES[:3])]
    assert scores[2] > scores[0] > 0 > scores[1]


@pytest.mark.parametrize(
    "tops",
    [
        {"Maybe": -0.1},
        {"The": -0.001, "Yes": -11.0, "No": -12.0},
        {"The": 25.0, "yes": 14.0, "no": 12.0},
    ],
)
def test_what_is_neither_yes_nor_no_is_not_judged(tops: dict[str, float]) -> None:
    with VlmServer([says(next(iter(tops)), tops=tops)]) as server:
        (verdict,) = NvilaVerifier(endpoint_of(server)).verify("a cup", PICTURES[:1])
    assert verdict.passed is None and "neither yes nor no" in verdict.explanation


def test_an_unsure_answer_is_one_and_so_is_the_likeliest_token() -> None:
    assert best_scores((("The", -0.6), ("Yes", -1.5), ("No", -2.0)), ("yes", "no")) == (-1.5, -2.0)
    assert best_scores((("no", -5.0), ("yes", -6.0), (" No", -7.0)), ("yes", "no")) == (-6.0, -5.0)


def test_what_cannot_be_asked_is_not_judged() -> None:
    vlm = ScriptedVlm(on_choose=lambda _: Failure("The server does not answer."))
    (verdict,) = NvilaVerifier(vlm).verify("a cup", PICTURES[:1])
    assert "does not answer" in verdict.explanation
