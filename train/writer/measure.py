"""What a writer writes, and whether following its reflections improves pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

import numpy as np
from diffusers.utils.logging import disable_progress_bar
from PIL.Image import Image

from reflectionflow_core.evaluation.statistics import difference, share
from reflectionflow_core.flux.placement import Resident, device_named
from reflectionflow_core.protocols import ReflectionWriter
from reflectionflow_core.record import Candidate, InputError, Request, Verdict
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.vlm.interface import Failure
from reflectionflow_core.vlm.local import LocalSettings, LocalVlm
from reflectionflow_core.vlm.texts import tidy
from reflectionflow_core.writers.template import TemplateWriter
from train.qwen.data import Usable
from train.writer.chats import Chat
from train.writer.settings import GainSettings, WriterSettings

EXAMPLES = 3


@contextmanager
def speaking(model: Any, processor: Any, settings: WriterSettings) -> Iterator[LocalVlm]:
    """A context in which the model in training can be asked."""
    was_training, own = model.training, model.generation_config
    try:
        yield LocalVlm(
            model.eval(),
            processor,
            Resident(device_named(settings.torch_device)),
            LocalSettings(batch_size=settings.batch, max_pixels=settings.max_pixels),
        )
    finally:
        model.train(was_training)
        model.generation_config = own  # replaced by LocalVlm


def written(vlm: LocalVlm, chats: Usable[Chat], settings: WriterSettings) -> dict[str, Any]:
    """The share of the first chats whose answer is reproduced exactly, and some examples."""
    some = [chats[number][0] for number in range(min(settings.answers, len(chats)))]
    most = settings.max_answer
    questions = [replace(chat.question, max_tokens=most) for chat in some]
    answers = ["" if isinstance(a, Failure) else tidy(a) for a in vlm.chat(questions)]
    right = np.array([chat.answer == answer for chat, answer in zip(some, answers, strict=True)])
    shown = zip(some[:EXAMPLES], answers, strict=False)
    examples = [
        {"prompt": c.asked, "asked_for": c.answer, "written": answer} for c, answer in shown
    ]
    return {"exact": {**asdict(share(right)), "answers": len(some)}, "examples": examples}


def alone(judge: Callable[[], Verdict]) -> Verdict:
    """For measurements by one process."""
    return judge()


class WriterGain:
    """Whether corrections with the writer's reflections raise scores more often than with others.

    Compares the writer with TemplateWriter (which knows the verifier's findings) and with no
    reflection, over the same pictures and seeds. `ask` tells who asks the verifier: `alone`, or
    `agreed` if several processes measure together. Pictures that the verifier could not judge in
    every case are left out and counted (`not_judged`); InputError if none remain.
    """

    def __init__(
        self,
        chats: Usable[Chat],
        settings: GainSettings,
        device: str = "cpu",
        ask: Callable[[Callable[[], Verdict]], Verdict] = alone,
    ) -> None:
        disable_progress_bar()  # of loading, which a log file would get
        choice = ActorChoice(
            model=settings.model,
            lora=settings.lora,
            device=device,
            verifier=settings.verifier,
            vlm=settings.vlm,
            reward_base=settings.reward_base,
        )
        self.actors: Any = build_actors(choice, SearchSettings())
        self.batch, self.ask = settings.batch, ask
        asked = _flawed(chats, settings.pictures)
        self.first = [self._judged(c.prompt, c.picture) for c in asked]
        judged = [pair for pair in zip(asked, self.first, strict=True) if pair[1].judged]
        self.flawed = [chat for chat, _ in judged]
        self.before = [verdict for _, verdict in judged]
        template = _reflections(TemplateWriter(), self.flawed, self.before)
        self.others = {
            "template": self._gains(template),
            "empty": self._gains([""] * len(self.flawed)),
        }

    def __call__(self, writer: ReflectionWriter) -> dict[str, Any]:
        # Without findings in the verdict, a writer without an answer cannot fall back on them.
        blind = [Verdict(verdict.score) for verdict in self.before]
        gains = {
            "writer": self._gains(_reflections(writer, self.flawed, blind)),
            **self.others,
        }
        known = np.isfinite(np.array(list(gains.values()))).all(0)  # (pictures,)
        count = len(self.first)
        if not known.any():
            words = next((v.failure for v in self.first if v.failure), "")
            words = words or "the corrections were not judged"
            raise InputError(f"0 of {count} pictures could be judged: {words}")
        rises = {name: np.array(gain)[known] > 0 for name, gain in gains.items()}
        return {
            "pictures": int(known.sum()),
            "not_judged": count - int(known.sum()),
            **{name: asdict(share(rise)) for name, rise in rises.items()},
            "leads": {
                name: asdict(difference(rises["writer"], rises[name])) for name in self.others
            },
        }

    def _judged(self, prompt: str, image: Image) -> Verdict:
        return self.ask(lambda: self.actors.verifier.verify(prompt, [image])[0])

    def _gains(self, reflections: Sequence[str]) -> list[float]:
        """The rise of each score after one correction; not finite if not judged."""
        images, prompts = [c.picture for c in self.flawed], [c.prompt for c in self.flawed]
        requests = list(map(Request.correcting, images, prompts, reflections, range(len(images))))
        after: list[Image] = []
        with warnings.catch_warnings():
            # A writer that has not learnt to end writes for as long as it may.
            warnings.filterwarnings("ignore", message="The text is .* tokens long")
            for start in range(0, len(requests), self.batch):
                after += self.actors.corrector.paint(requests[start : start + self.batch])
        ranks = [self._judged(*each).rank for each in zip(prompts, after, strict=True)]
        return [rank - verdict.rank for rank, verdict in zip(ranks, self.before, strict=True)]


def _flawed(chats: Usable[Chat], most: int) -> list[Chat]:
    found = (chats[number][0] for number in range(len(chats)))
    flawed = list(islice((chat for chat in found if chat.prompt), most))
    if not flawed:
        raise InputError(
            "No held-out chat has a prompt, so its picture cannot be judged. Give shards of "
            "triplets as `held_out`, or gain.pictures=0."
        )
    return flawed


def _reflections(
    writer: ReflectionWriter, flawed: Sequence[Chat], verdicts: Sequence[Verdict]
) -> list[str]:
    return [
        writer.reflect(
            chat.prompt, [Request(0, parent=Candidate(chat.picture, chat.prompt, 0, verdict))]
        )[0]
        for chat, verdict in zip(flawed, verdicts, strict=True)
    ]
