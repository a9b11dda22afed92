"""`--verifier me`, `--writer me`, `--evolver me`: the person at the terminal is the actor.

Alone, or with an actor whose proposal an empty line accepts. The rows are here and not in the
registry, since only a terminal can be asked.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..protocols import SILENT, Progress, PromptEvolver, ReflectionWriter
from ..record import InputError, Request, Verdict
from ..registry import EVOLVERS, VERIFIERS, WRITERS, ActorChoice, Row
from ..search.budget import calls_so_far
from ..texts import printable, usable_text
from ..verifiers.spec import parse_verifiers
from ..vlm.interface import Vlm

if TYPE_CHECKING:
    from PIL.Image import Image

ME = "me"
JUDGE = """\
Is it right? y, or a mark from 0 to 10, and after a colon what is wrong, with ; between faults:
  y    7: the mug is blue; a spoon is missing    ? (you cannot say)"""
MARK = re.compile(
    r"(?P<mark>y|yes|n|no|10(?:\.0*)?|[0-9](?:\.[0-9]+)?)\s*(?::(?P<faults>.*))?", re.IGNORECASE
)
MARKS = {"y": 10.0, "yes": 10.0, "n": 0.0, "no": 0.0}
NOBODY = "Nobody answered at the terminal."
UNKNOWN = "You could not say."


class Questions:
    """Shows pictures as files and reads lines."""

    def __init__(self, read_line: Callable[[], str] | None = None) -> None:
        self.read_line = read_line or sys.stdin.readline
        self.shown, self.ended = 0, False
        self._kept = ExitStack()
        self._folder: Path | None = None

    def show(self, image: Image, words: str) -> None:
        if self._folder is None:
            self._folder = Path(self._kept.enter_context(tempfile.TemporaryDirectory("-pictures")))
        self.shown += 1
        file = self._folder / f"{self.shown}.png"
        image.save(file)
        sys.stderr.write(f"{file}\n{printable(words)}\n")

    def line(self) -> str | None:
        """The typed line, stripped; None at the end of input."""
        sys.stderr.write("> ")
        sys.stderr.flush()
        line = self.read_line()
        self.ended = not line
        return line.strip() if line else None


@contextmanager
def still(progress: Progress) -> Iterator[None]:
    """A context without progress bars, which would be drawn over what the user types."""
    from .screen import Screen

    if isinstance(progress, Screen):
        with progress.still():
            yield
    else:
        yield


class PersonVerifier:
    """Asks the person about every picture; the score is the mark divided by 10, and 1 passes."""

    calls = 0

    def __init__(self, asked: Questions | None = None) -> None:
        self.asked = asked or Questions()

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        with still(progress):
            return [self._judged(prompt, image, progress) for image in images]

    def _judged(self, prompt: str, image: Image, progress: Progress) -> Verdict:
        progress.check()
        if self.asked.ended:
            return Verdict.unjudged(NOBODY)
        self.asked.show(image, f"It should show: {prompt}\n{JUDGE}")
        while (line := self.asked.line()) is not None:
            try:
                return verdict_of(line)
            except InputError as error:
                sys.stderr.write(f"{error}\n")
        return Verdict.unjudged(NOBODY)


def verdict_of(line: str) -> Verdict:
    """The verdict in a line; raises InputError for an invalid one."""
    if line == "?":
        return Verdict.unjudged(UNKNOWN)
    found = MARK.fullmatch(usable_text(line, "line"))
    if found is None:
        raise InputError("That is not a mark. Say y, a number from 0 to 10, or ?.")
    mark = found["mark"].lower()
    score = (MARKS[mark] if mark in MARKS else float(mark)) / 10
    faults = tuple(filter(None, map(str.strip, (found["faults"] or "").split(";"))))
    if score == 1 and faults:
        raise InputError("A picture with faults is not right. Say a mark below 10, or no fault.")
    return Verdict(score, score == 1, unmet=faults)


class _Proposed:
    """A person with an actor that proposes texts; its calls are the actor's."""

    def __init__(
        self, proposer: ReflectionWriter | PromptEvolver, asked: Questions | None = None
    ) -> None:
        self.proposer, self.asked = proposer, asked or Questions()
        self.calls = proposer.calls

    @property
    def spent(self) -> int | None:
        return calls_so_far(self.proposer)

    def _texts(
        self,
        question: str,
        requests: Sequence[Request],
        proposals: Sequence[str],
        progress: Progress,
    ) -> list[str]:
        with still(progress):
            pairs = zip(requests, proposals, strict=True)
            return [self._text(question, request, text) for request, text in pairs]

    def _text(self, question: str, request: Request, proposal: str) -> str:
        from ..report.words import verdict_text

        parent = request.required_parent
        plan = f"Enter takes: {proposal}" if proposal else "Enter leaves it empty."
        words = f"{verdict_text(parent.verdict)}\n{question} {plan}"
        self.asked.show(parent.image, words)
        while line := self.asked.line():
            try:
                return usable_text(line, "line")
            except InputError as error:
                sys.stderr.write(f"{error}\n")
        return proposal


class PersonWriter(_Proposed):
    """Asks the person what to change in each picture."""

    proposer: ReflectionWriter

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        proposals = self.proposer.reflect(prompt, requests, progress)
        return self._texts("What should change?", requests, proposals, progress)


class PersonEvolver(_Proposed):
    """Asks the person for the prompt of the next picture."""

    proposer: PromptEvolver

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        proposals = self.proposer.evolve(prompt, requests, progress)
        return self._texts("Which prompt is next?", requests, proposals, progress)


class AsGiven:
    """A prompt evolver that proposes the original prompt."""

    calls = 0

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        del progress
        return [prompt] * len(requests)


def add_rows() -> None:
    """Lets the command line choose `me`; a vision-language model makes the proposals, if any."""
    VERIFIERS[ME] = Row(lambda *_: PersonVerifier(), spread=0.25, lowest=0.0, highest=1.0)
    WRITERS[ME] = Row(_writer, may_ask_vlm=True)
    EVOLVERS[ME] = Row(_evolver, may_ask_vlm=True)


def asks_person(choice: ActorChoice) -> bool:
    """Whether one of the actors is the person at the terminal."""
    specs = filter(None, (choice.verifier, choice.gate, choice.screen))
    judges = {part.name for spec in specs for part in parse_verifiers(spec, VERIFIERS)}
    return ME in {*judges, choice.writer, choice.evolver}


def check_nobody_is_asked(choice: ActorChoice) -> None:
    """Raises InputError for `me` in a benchmark, which paints many pictures in the background."""
    if asks_person(choice):
        raise InputError(
            "A benchmark cannot ask at the terminal, so the actor me is not possible. Choose "
            "another verifier, writer and evolver."
        )


def check_heard(choice: ActorChoice, quiet: bool, asks: bool = False) -> None:
    """Raises InputError for questions to a person that --quiet would hide."""
    if quiet and (asks or asks_person(choice)):
        raise InputError(
            "--quiet hides the questions that you are to answer. Remove --quiet, or remove --ask "
            "and the actor me."
        )


def _writer(choice: ActorChoice, vlm: Vlm | None) -> ReflectionWriter:
    return PersonWriter(WRITERS["vlm" if vlm else "template"].build(choice, vlm))


def _evolver(choice: ActorChoice, vlm: Vlm | None) -> PromptEvolver:
    return PersonEvolver(EVOLVERS["vlm"].build(choice, vlm) if vlm else AsGiven())
