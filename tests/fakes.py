"""Toys that obey the core's Protocols, for every test that needs a search without a model.

A toy's world is colour: the words of a prompt before its first comma have one target colour, and a
picture is better the nearer its pixels are to it. Pictures are pure functions of what was asked,
so equal questions give equal bytes. A toy writes down every call in `log`, and a `script` makes it
fail: `{2: TimeoutError()}` raises at its third call, `{2: -1}` answers one item too few there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from PIL import Image

from reflectionflow_core.protocols import SILENT, Actors, Preview, Progress
from reflectionflow_core.record import (
    Candidate,
    History,
    Inspection,
    Request,
    Restart,
    Stage,
    Verdict,
)

SIDE = 8  # pixels
PIXELS = SIDE * SIDE * 3

Answer = TypeVar("Answer")


def examples(count: int) -> int:
    """How many examples hypothesis tries; `make quick` is content with a tenth."""
    return count // 10 if os.environ.get("REFLECTIONFLOW_QUICK") else count


def target(prompt: str) -> bytes:
    """The colour that a prompt asks for, on every pixel; what follows its first comma is detail."""
    return Random(prompt.partition(",")[0].strip()).randbytes(3) * (SIDE * SIDE)


def mixed(a: bytes, b: bytes, share: float) -> bytes:
    """`share` of b in a."""
    return bytes(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))


def picture(pixels: bytes) -> Image.Image:
    return Image.frombytes("RGB", (SIDE, SIDE), pixels)


def noise(*key: object) -> bytes:
    """Pixels that depend on every part of the key, also on a Neighbour's pivot and radius."""
    return Random(repr(key)).randbytes(PIXELS)


@dataclass
class Toy:
    """What all toys share: a log of calls, scripted failures, and a hook to move a clock."""

    script: Mapping[int, Exception | int] = field(default_factory=dict, kw_only=True)
    on_call: Callable[[], object] = field(default=lambda: None, kw_only=True)
    log: list[tuple] = field(default_factory=list, kw_only=True)
    looks: list[tuple] = field(default_factory=list, kw_only=True)  # what was only foreseen

    def answers(self, asked: tuple, answers: list[Answer]) -> list[Answer]:
        failure = self.script.get(len(self.log))
        self.log.append(asked)
        self.on_call()
        if isinstance(failure, Exception):
            raise failure
        return answers[:failure]  # [:None] is all of them

    def looked(self, requests: Sequence[Request], images: list[Image.Image]) -> list[Preview]:
        self.looks.append((list(requests),))
        converged = [noise("clear", request.seed)[0] % 3 > 0 for request in requests]
        return list(map(Preview, images, converged))

    @property
    def items(self) -> int:
        """How many items it was ever asked; the last argument of every call is a list."""
        return sum(len(asked[-1]) for asked in self.log)


def diffuse(progress: Progress, phase: str, steps: int) -> None:
    for step in range(steps):
        progress.check()
        progress.report(phase, step + 1, steps)


@dataclass
class ToyGenerator(Toy):
    """Half target colour, half noise; with `mates` a picture depends on its whole batch.

    A Restart gives as much of a fresh picture as its level says; never as good as a correction.
    """

    steps: int = 4
    mates: bool = False
    preview_steps: int = 1

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image.Image]:
        diffuse(progress, requests[0].phase, self.steps)
        batch = tuple(request.seed for request in requests) if self.mates else ()
        images = [
            picture(mixed(self._alone(request), noise(batch), 0.02 * self.mates))
            for request in requests
        ]
        return self.answers((list(requests),), images)

    def _alone(self, request: Request) -> bytes:
        p, s = request.prompt, request.seed
        if not isinstance(s, Restart):
            return mixed(target(p), noise(p, s), 0.5)
        fresh = mixed(target(p), noise(p, s.seed), 0.5)
        return mixed(request.required_parent.image.tobytes(), fresh, s.level)

    def preview(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Preview]:
        """What it will paint, in a haze; of every third noise nothing can be said yet."""
        diffuse(progress, "draft", self.preview_steps)
        images = [
            picture(mixed(self._alone(request), noise("haze", request.seed), 0.2))
            for request in requests
        ]
        return self.looked(requests, images)

    def steps_from(self, level: float) -> int:
        return max(1, round(self.steps * level))


@dataclass
class ToyCorrector(Toy):
    """Moves a picture half way to the prompt's colour if a reflection asks; noise may undo it."""

    steps: int = 4
    mates: bool = False
    preview_steps: int = 1

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image.Image]:
        diffuse(progress, "correct", self.steps)
        batch = tuple(request.seed for request in requests) if self.mates else ()
        answers = []
        for each in requests:
            own = noise(each.prompt, each.reflection, each.seed)
            painted = mixed(self._moved(each), own, 0.2)
            answers.append(picture(mixed(painted, noise(batch), 0.02 * self.mates)))
        return self.answers((list(requests),), answers)

    def _moved(self, request: Request) -> bytes:
        share = 0.5 if request.reflection else 0.0
        return mixed(request.required_parent.image.tobytes(), target(request.prompt), share)

    def preview(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Preview]:
        diffuse(progress, "correct", self.preview_steps)
        answers = []
        for each in requests:
            haze = noise("haze", each.prompt, each.reflection, each.seed)
            answers.append(picture(mixed(self._moved(each), haze, 0.3)))
        return self.looked(requests, answers)


@dataclass
class ToyVerifier(Toy):
    """Scores 1 for the target colour, less for every pixel off it; passes from `pass_at` on."""

    calls: int = 1
    pass_at: float | None = None

    def verify(
        self, prompt: str, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        verdicts = [self.verdict(closeness(prompt, image)) for image in images]
        return self.answers((prompt, list(images)), verdicts)

    def verdict(self, score: float) -> Verdict:
        passed = None if self.pass_at is None else score >= self.pass_at
        return Verdict(score, passed, unmet=() if passed else ("colour",))


def closeness(prompt: str, image: Image.Image) -> float:
    off = sum(abs(x - y) for x, y in zip(image.tobytes(), target(prompt), strict=True))
    return 1 - off / (255 * PIXELS)


@dataclass
class ToyWriter(Toy):
    """Names the parent's score, so that a reflection tells which picture it was written for."""

    calls: int = 1
    mates: bool = False

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        batch = f" One of {len(requests)}." if self.mates else ""
        answers = [
            f"Make it more like {prompt}: {r.required_parent.rank:.6f}.{batch}" for r in requests
        ]
        return self.answers((prompt, list(requests)), answers)


@dataclass
class ToyEvolver(Toy):
    """Adds a detail that names the parent's score after a comma; the target colour stays."""

    calls: int = 1

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        answers = [f"{prompt}, seen at {request.required_parent.rank:.6f}" for request in requests]
        return self.answers((prompt, list(requests)), answers)


@dataclass
class ToyInspector(Toy):
    """Accepts a picture near the colour of the whole prompt; says how near the others are.

    Like its picture, what is still to come depends on nothing but the question.
    """

    calls: int = 1
    accept_at: float = 0.8

    def inspect(
        self,
        prompt: str,
        stages: Sequence[Stage],
        images: Sequence[Image.Image],
        progress: Progress = SILENT,
    ) -> list[Inspection]:
        scores = [closeness(prompt, image) for image in images]
        answers = [
            Inspection(True, later=("more",))
            if score >= self.accept_at
            else Inspection(
                False, missing=("colour",), refine=f"Bring {stage.scene} to {score:.6f}."
            )
            for stage, score in zip(stages, scores, strict=True)
        ]
        return self.answers((prompt, list(stages), list(images)), answers)


@dataclass
class ToyClock:
    """Seconds that pass only when told: `search(..., clock=clock)`, `on_call=clock.tick(2)`."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> Callable[[], None]:
        def pass_time() -> None:
            self.now += seconds

        return pass_time


class Cancelled(Exception):  # noqa: N818  (what a user does is no error)
    """The user pressed stop."""


@dataclass
class Watcher:
    """Progress that remembers reports and cancels at check number `cancel_at`."""

    cancel_at: int | None = None
    checks: int = 0
    reports: list[tuple[str, int, int]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def report(self, phase: str, done: int, total: int, preview: Image.Image | None = None) -> None:
        self.reports.append((phase, done, total))

    def check(self) -> None:
        self.checks += 1
        if self.checks - 1 == self.cancel_at:
            raise Cancelled


@dataclass(frozen=True)
class Toys:
    """One toy for every seat; `actors()` seats them all."""

    generator: ToyGenerator = field(default_factory=ToyGenerator)
    verifier: ToyVerifier = field(default_factory=ToyVerifier)
    corrector: ToyCorrector = field(default_factory=ToyCorrector)
    writer: ToyWriter = field(default_factory=ToyWriter)
    evolver: ToyEvolver = field(default_factory=ToyEvolver)
    inspector: ToyInspector = field(default_factory=ToyInspector)

    def actors(self) -> Actors:
        painters = (self.generator, self.verifier, self.corrector)
        return Actors(*painters, self.writer, self.evolver, self.inspector)


def toy_actors() -> Actors:
    return Toys().actors()


def facts(history: History) -> tuple:
    """Everything about a History but its objects' identities and its seconds."""
    number = {candidate: i for i, candidate in enumerate(history)} | {None: None}
    cost = history.cost
    return (
        [len(candidates) for candidates in history.rounds],
        [
            (
                c.image.tobytes(),
                c.prompt,
                c.seed,
                c.reflection,
                c.verdict,
                number[c.parent],
                c.action,
                c.steps,
                c.finished,
                c.stage,
                c.inspection,
            )
            for c in history
        ],
        (cost.images, cost.steps, cost.vlm_calls),
    )


def read_back(history: History) -> History:
    """The same History of other objects, as an archive gives it back."""
    copies: dict[int, Candidate] = {}
    for c in history:
        parent = None if c.parent is None else copies[id(c.parent)]
        copies[id(c)] = replace(c, image=c.image.copy(), parent=parent)
    return replace(history, rounds=tuple(tuple(copies[id(c)] for c in r) for r in history.rounds))
