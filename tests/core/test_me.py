"""The person at the terminal as verifier, writer and evolver, alone and beside a model."""

from __future__ import annotations

import io

import pytest
from asking import about
from PIL import Image

from reflectionflow_core.choice import ActorChoice
from reflectionflow_core.cli.me import (
    NOBODY,
    PersonWriter,
    add_rows,
    check_nobody_is_asked,
    verdict_of,
)
from reflectionflow_core.record import Candidate, InputError, Verdict
from reflectionflow_core.registry import EVOLVERS, VERIFIERS, WRITERS, build, build_verifier

WRONG = Verdict(0.5, False, unmet=("missing a dog",))
PICTURE = Candidate(Image.new("RGB", (4, 4)), "a dog", 1, WRONG)


@pytest.fixture
def typed(monkeypatch):
    """Sets what the person will type; the names exist on the command line only."""
    for rows in (VERIFIERS, WRITERS, EVOLVERS):
        monkeypatch.delitem(rows, "me", raising=False)
    add_rows()
    yield lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))
    for rows in (VERIFIERS, WRITERS, EVOLVERS):
        del rows["me"]


def test_a_person_judges_and_nonsense_is_asked_again(typed, capsys):
    typed("nonsense\n10: a fault\n7.5: no dog; a cat \nY\n?\n")
    verifier = build_verifier(ActorChoice(verifier="me"))
    assert verifier.verify("a dog", []) == []
    first, second, third, fourth = verifier.verify("a dog", [PICTURE.image] * 4)
    assert first == Verdict(0.75, False, unmet=("no dog", "a cat"))
    assert second == Verdict(1.0, True)
    assert not third.judged and fourth.failure == NOBODY
    said = capsys.readouterr().err
    assert "It should show: a dog" in said
    assert "That is not a mark." in said and "A picture with faults is not right." in said


@pytest.mark.parametrize("line", ["11", "-1", "", "y no", "7:\x00", "nan"])
def test_what_is_not_a_mark_is_refused(line):
    with pytest.raises(InputError):
        verdict_of(line)


def test_a_person_judges_beside_others(typed):
    typed("n: no dog\n")
    verifier = build_verifier(ActorChoice(verifier="exact", gate="me"))
    (verdict,) = verifier.verify("a red circle", [Image.new("RGB", (64, 64))])
    assert (verdict.passed, verdict.unmet) == (False, ("no dog",))


@pytest.mark.parametrize("who", [{"verifier": "exact+me"}, {"gate": "me"}, {"writer": "me"}])
def test_a_benchmark_asks_nobody(typed, who):
    with pytest.raises(InputError, match="cannot ask at the terminal"):
        check_nobody_is_asked(ActorChoice(**who))
    check_nobody_is_asked(ActorChoice())


def test_an_empty_line_takes_what_is_proposed(typed, capsys):
    choice = ActorChoice(writer="me", evolver="me")
    typed("\nmake it a cat\n")
    writer = build(WRITERS, "writer", "me", choice)
    assert writer.reflect("a dog", about([PICTURE, PICTURE])) == ["add a dog", "make it a cat"]
    assert "Enter takes: add a dog" in capsys.readouterr().err
    typed("\n")
    evolver = build(EVOLVERS, "evolver", "me", choice)
    assert evolver.evolve("a dog", about([PICTURE, PICTURE])) == ["a dog", "a dog"]
    assert (writer.calls, evolver.calls) == (0, 0)


def test_beside_a_model_the_model_proposes_and_its_calls_are_counted(typed):
    class Proposing:
        calls, spent = 2, 5

        def reflect(self, prompt, requests, progress=None):
            return [f"as the model says of {prompt}"] * len(requests)

    typed("\n")
    writer = PersonWriter(Proposing())
    assert writer.reflect("a dog", about([PICTURE])) == ["as the model says of a dog"]
    assert (writer.calls, writer.spent) == (2, 5)
