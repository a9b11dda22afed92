"""A verifier that errs at a chosen rate, the same way whenever it is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from reflectionflow_core.evidence import Evidence
from reflectionflow_core.protocols import SILENT
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.verifiers.noisy import NoisyVerifier


class Passes:
    """Passes pictures that are brighter than half."""

    calls = 3

    def verify(self, prompt, images, progress=SILENT):
        levels = [image.getpixel((0, 0))[0] / 255 for image in images]
        return [
            Verdict(level, passed=level > 0.5, unmet=() if level > 0.5 else ("dark",))
            for level in levels
        ]


PICTURES = [Image.new("RGB", (2, 2), (i % 256, i // 256, 0)) for i in range(1000)]


def test_it_errs_as_often_as_it_was_told() -> None:
    truth = Passes().verify("a", PICTURES)
    told = NoisyVerifier(Passes(), 0.2).verify("a", PICTURES)
    wrong = sum(a.passed != b.passed for a, b in zip(truth, told, strict=True))
    assert 150 < wrong < 250


def test_a_wrong_verdict_is_wrong_in_all_its_parts() -> None:
    for verdict in NoisyVerifier(Passes(), 1.0).verify("a", PICTURES):
        assert bool(verdict.unmet) != verdict.passed


def test_sureness_does_not_tell_false_passes_from_true_ones() -> None:
    class Sure(Passes):
        def verify(self, prompt, images, progress=SILENT):
            seen = (Evidence("a cup", (0.0, 0.0, 1.0, 1.0), 0.9),)
            return [replace(v, evidence=seen) for v in super().verify(prompt, images)]

    told = NoisyVerifier(Sure(), 0.2).verify("a", PICTURES)
    assert {verdict.sureness for verdict in told if verdict.passed} == {0.0}
    assert any(verdict.evidence for verdict in told if verdict.passed)


def test_its_errors_do_not_depend_on_the_order_or_the_batch() -> None:
    verifier = NoisyVerifier(Passes(), 0.3, seed=4)
    whole = verifier.verify("a", PICTURES)
    assert [verifier.verify("a", [p])[0] for p in reversed(PICTURES)] == whole[::-1]


def test_another_seed_or_prompt_errs_elsewhere_and_no_rate_errs_nowhere() -> None:
    def passed(rate: float, seed: int, prompt: str) -> list[bool | None]:
        return [v.passed for v in NoisyVerifier(Passes(), rate, seed).verify(prompt, PICTURES)]

    assert passed(0.3, 0, "a") != passed(0.3, 1, "a")
    assert passed(0.3, 0, "a") != passed(0.3, 0, "b")
    assert passed(0.0, 0, "a") == [v.passed for v in Passes().verify("a", PICTURES)]


def test_it_costs_what_the_verifier_inside_costs() -> None:
    assert NoisyVerifier(Passes(), 0.1).calls == 3


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        NoisyVerifier(Passes(), rate)
