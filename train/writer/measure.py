"""What a writer writes, and whether following it makes pictures better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL.Image import Image

from reflectionflow_core.evaluation.statistics import difference, share
from reflectionflow_core.flux.placement import Resident, device_named
from reflectionflow_core.protocols import ReflectionWriter
from reflectionflow_core.record import Candidate, InputError, Request, Verdict
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.local import LocalSettings, LocalVlm
from reflectionflow_core.vlm.texts import tidy
from reflectionflow_core.writers.template import TemplateWriter
from train.qwen.data import Usable
from train.writer.chats import Chat
from train.writer.settings import GainSettings, WriterSettings

EXAMPLES = 3


def written(
    model: Any, processor: Any, chats: Usable[Chat], settings: WriterSettings
) -> dict[str, Any]:
    """The share of the first chats whose answer is written to the letter, and some of them."""
    some = [chats[number][0] for number in range(min(settings.answers, len(chats)))]
    was_training, own = model.training, model.generation_config
    vlm = LocalVlm(
        model.eval(),
        processor,
        Resident(device_named(settings.device)),
        LocalSettings(batch_size=settings.batch, max_pixels=settings.max_pixels),
    )
    most = settings.max_answer
    questions = [Question(chat.request, (chat.image,), max_tokens=most) for chat in some]
    answers = ["" if isinstance(a, Failure) else tidy(a) for a in vlm.chat(questions)]
    model.train(was_training)
    model.generation_config = own  # which LocalVlm replaces
    right = np.array([chat.answer == answer for chat, answer in zip(some, answers, strict=True)])
    shown = zip(some[:EXAMPLES], answers, strict=False)
    examples = [
        {"prompt": c.prompt, "asked_for": c.answer, "written": answer} for c, answer in shown
    ]
    return {"exact": {**asdict(share(right)), "answers": len(some)}, "examples": examples}


def gain(
    writer: ReflectionWriter, chats: Usable[Chat], settings: GainSettings, device: str = "cpu"
) -> dict[str, Any]:
    """The share of flawed pictures whose score rises when the corrector follows the writer's
    reflection, those of TemplateWriter (which knows what the verifier found), and none at all;
    and by how much the writer leads each, over the same pictures and seeds.

    Pictures of which the verifier could not judge each state are left out and counted
    (`not_judged`). Raises InputError if there are no others.
    """
    choice = ActorChoice(
        model=settings.model,
        lora=settings.lora,
        device=device,
        verifier=settings.verifier,
        vlm=settings.vlm,
        reward_base=settings.reward_base,
    )
    actors = build_actors(choice, SearchSettings())
    asked = _flawed(chats, settings.pictures)
    first = [actors.verifier.verify(c.prompt, [c.image])[0] for c in asked]
    flawed = [chat for chat, verdict in zip(asked, first, strict=True) if verdict.judged]
    before = [verdict for verdict in first if verdict.judged]
    # A writer without an answer would fall back on the verdict's findings, so it gets none.
    blind = [Verdict(verdict.score) for verdict in before]
    reflections_by = {
        "writer": _reflections(writer, flawed, blind),
        "template": _reflections(TemplateWriter(), flawed, before),
        "empty": [""] * len(flawed),
    }
    gains = {
        name: _gains(actors, flawed, reflections, before, settings.batch)
        for name, reflections in reflections_by.items()
    }
    known = np.isfinite(np.array(list(gains.values()))).all(0)  # (pictures,)
    if not known.any():
        words = next((v.failure for v in first if v.failure), "the corrections were not judged")
        raise InputError(f"0 of {len(asked)} pictures could be judged: {words}")
    rises = {name: np.array(gain)[known] > 0 for name, gain in gains.items()}
    return {
        "pictures": int(known.sum()),
        "not_judged": len(asked) - int(known.sum()),
        **{name: asdict(share(rise)) for name, rise in rises.items()},
        "leads": {
            name: asdict(difference(rises["writer"], rises[name])) for name in ("template", "empty")
        },
    }


def _flawed(chats: Usable[Chat], most: int) -> list[Chat]:
    found = (chats[number][0] for number in range(len(chats)))
    flawed = [chat for chat in found if chat.prompt][:most]
    if not flawed:
        raise InputError(
            "No held-out chat names its prompt, so nobody can judge its picture. Give shards of "
            "triplets as `held_out`, or gain.pictures=0."
        )
    return flawed


def _reflections(
    writer: ReflectionWriter, flawed: Sequence[Chat], verdicts: Sequence[Verdict]
) -> list[str]:
    return [
        writer.reflect(
            chat.prompt, [Request(0, parent=Candidate(chat.image, chat.prompt, 0, verdict))]
        )[0]
        for chat, verdict in zip(flawed, verdicts, strict=True)
    ]


def _gains(
    actors: Any,
    flawed: Sequence[Chat],
    reflections: Sequence[str],
    before: Sequence[Verdict],
    batch: int,
) -> list[float]:
    """How much each picture's score rises by one correction; not finite if it was not judged."""
    images, prompts = [chat.image for chat in flawed], [chat.prompt for chat in flawed]
    requests = list(map(Request.correcting, images, prompts, reflections, range(len(flawed))))
    after: list[Image] = []
    for start in range(0, len(flawed), batch):
        after += actors.corrector.paint(requests[start : start + batch])
    ranks = [
        actors.verifier.verify(prompt, [image])[0].rank
        for prompt, image in zip(prompts, after, strict=True)
    ]
    return [rank - verdict.rank for rank, verdict in zip(ranks, before, strict=True)]
