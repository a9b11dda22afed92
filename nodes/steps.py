"""The steps of the method, one node each: paint, judge, reflect, evolve, correct.

Each takes any number of pictures and returns one answer for each, in order. A text is given once
for all pictures or once for each; lists come from these nodes, or from any node that makes one.
"""

from __future__ import annotations

import json
from functools import partial

from comfy_api.latest import io, ui
from torch import Tensor

from ..reflectionflow_core.archive.lines import pixel_digest
from ..reflectionflow_core.record import Request
from ..reflectionflow_core.report import counted, verdict_text
from ..reflectionflow_core.search import complete, fresh_seed, in_its_region
from ..reflectionflow_core.settings import chosen_seed
from .comfy.masks import NO_MASK, regions_of
from .comfy.memory import to_intermediate_device
from .comfy.tensors import to_batch, to_batches, to_pictures
from .shared.batches import (
    as_line,
    as_requests,
    ask_by_prompt,
    for_each,
    number_of,
    parts,
    single,
    verdicts_of,
)
from .shared.correcting import corrected, corrections, corrector_of, drawn_text, places_of_faults
from .shared.progress import NodeProgress, say
from .shared.ranking import judged_text, score_sheet
from .shared.schema import (
    NO_PROMPT,
    batch_size_input,
    check_texts,
    flux_input,
    list_output,
    output,
    prompt_input,
    schema,
    seed_input,
)
from .shared.sockets import (
    ActorHandle,
    EvolverSocket,
    FluxHandle,
    ScoredPicture,
    VerdictsSocket,
    VerifierSocket,
    WriterSocket,
)

ORDERS = ("best first", "as given")


class DraftSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "DraftSampler",
            display_name="Draft Sampler",
            description="Paints the first pictures of a prompt, each from its own noise.",
            search_aliases=["text to image", "best of n"],
            inputs=[
                flux_input("Who paints."),
                prompt_input("What to paint."),
                io.Int.Input(
                    "count", default=2, min=1, max=1000, tooltip="How many pictures to paint."
                ),
                seed_input(),
                batch_size_input(),
            ],
            outputs=[output(io.Image, "images", "The drafts, as a batch.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prompt: str | None = None) -> bool | str:
        return check_texts([prompt], empty=NO_PROMPT)

    @classmethod
    def execute(
        cls, flux: FluxHandle, prompt: str, count: int, seed: int, batch_size: int
    ) -> io.NodeOutput:
        progress = NodeProgress(cls.hidden.unique_id)
        generator, pictures = flux.generator, []
        chosen = chosen_seed(seed)
        seeds = [fresh_seed(chosen, 0, position) for position in range(count)]
        for part in parts(count, batch_size):
            painted = generator.paint([Request(s, prompt) for s in seeds[part]], progress)
            pictures += complete(painted, len(seeds[part]), "draft")
        say(
            cls.hidden.unique_id,
            f"{counted(count, 'picture')} painted{drawn_text([seed], [chosen])}",
        )
        shown = {"seed": [str(chosen)]}  # for scripts, which read /history; no node shows it
        return io.NodeOutput(to_intermediate_device(to_batch(pictures)), ui=shown)


class VerifierScore(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VerifierScore",
            display_name="Verifier Score",
            description="Judges pictures against a prompt and ranks them.",
            search_aliases=["judge", "rank", "pick best", "best of n", "prompt adherence"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="Pictures to judge: a batch, or a list."),
                prompt_input("What the pictures should show: one text, or one for each picture."),
                VerifierSocket.Input("verifier", tooltip="Who judges."),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default="best first",
                    tooltip="The order of images, verdicts and scores in the outputs. 'as given' "
                    "keeps each chain of a search in its position.",
                ),
                io.Int.Input(
                    "keep",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="How many pictures to output, from the first in that order; 0 is all.",
                ),
            ],
            outputs=[
                list_output(
                    io.Image,
                    "images",
                    "The pictures in the chosen order; one batch if they have one size.",
                ),
                output(io.Image, "best", "The winner of all pictures, whatever keep says."),
                output(VerdictsSocket, "verdicts", "One for each of the images."),
                list_output(
                    io.Float,
                    "scores",
                    "One for each of the images, higher is better; nan if it was not judged.",
                ),
                output(
                    io.String,
                    "report",
                    "JSON: every picture by rank, with its position in the input from 0 on, "
                    "its score and what is wrong.",
                ),
                output(
                    io.Image,
                    "sheet",
                    "All pictures by rank with scores, faults and boxes: green around what is "
                    "right, red around what is wrong.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prompt: list[str] | None = None) -> bool | str:
        return check_texts(prompt or [], empty=NO_PROMPT)

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        prompt: list[str],
        verifier: list[ActorHandle],
        order: list[str],
        keep: list[int],
    ) -> io.NodeOutput:
        progress = NodeProgress(cls.hidden.unique_id)
        pictures = to_pictures(images)
        prompts = for_each(prompt, len(pictures), "prompt")
        ask = partial(single(verifier, "verifier").actor.verify, progress=progress)
        verdicts = ask_by_prompt(ask, prompts, pictures, "verify")
        # As the search's strategies order: of equals the earlier one.
        ranked = sorted(range(len(pictures)), key=lambda i: verdicts[i].rank, reverse=True)
        best = single(order, "order") == "best first"
        chosen = list(ranked if best else range(len(pictures)))[: single(keep, "keep") or None]
        failed = judged_text(pictures, verdicts)
        lines = [f"{i + 1}: {verdict_text(verdicts[i])}" for i in ranked]
        text = "\n".join([*lines, *filter(None, [failed]), *progress.failures])
        say(cls.hidden.unique_id, text)
        return io.NodeOutput(
            [to_intermediate_device(batch) for batch in to_batches([pictures[i] for i in chosen])],
            to_intermediate_device(to_batch([pictures[ranked[0]]])),
            tuple(ScoredPicture(pixel_digest(pictures[i]), verdicts[i]) for i in chosen),
            [number_of(verdicts[i]) for i in chosen],
            json.dumps([as_line(i, verdicts[i]) for i in ranked], indent=2),
            to_intermediate_device(to_batch([score_sheet(pictures, prompts, verdicts)])),
            ui=ui.PreviewText(text),
        )


class ReflectionWriterNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ReflectionWriter",
            display_name="Reflection Writer",
            description="Says what should change in each picture.",
            search_aliases=["critic", "feedback", "what is wrong"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="Pictures to write about: a batch, or a list."),
                prompt_input("What the pictures should show: one text, or one for each picture."),
                WriterSocket.Input("writer", tooltip="Who writes."),
                VerdictsSocket.Input(
                    "verdicts", tooltip="From the Verifier Score of these pictures."
                ),
            ],
            outputs=[
                list_output(
                    io.String,
                    "reflections",
                    "One for each picture; empty if nothing needs to change (Corrector Sampler "
                    "repaints such a picture too).",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prompt: list[str] | None = None) -> bool | str:
        return check_texts(prompt or [], empty=NO_PROMPT)

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        prompt: list[str],
        writer: list[ActorHandle],
        verdicts: list[tuple],
    ) -> io.NodeOutput:
        progress = NodeProgress(cls.hidden.unique_id)
        requests = as_requests(images, prompt, verdicts)
        ask = partial(single(writer, "writer").actor.reflect, progress=progress)
        prompts = [request.required_parent.prompt for request in requests]
        return shown_texts(progress, ask_by_prompt(ask, prompts, requests, "reflect"))


class PromptEvolverNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "PromptEvolver",
            display_name="Prompt Evolver",
            description="Rewrites the prompt for each picture that was painted from it.",
            search_aliases=["improve prompt", "prompt enhancer", "rewrite"],
            is_input_list=True,
            inputs=[
                prompt_input("What the pictures should show: your own words."),
                io.Image.Input("images", tooltip="Pictures to look at: a batch, or a list."),
                EvolverSocket.Input("evolver", tooltip="Who rewrites."),
                VerdictsSocket.Input(
                    "verdicts",
                    optional=True,
                    tooltip="From the Verifier Score of these pictures.",
                ),
                io.String.Input(
                    "reflections",
                    optional=True,
                    force_input=True,
                    tooltip="The reflections with which these pictures were corrected.",
                ),
            ],
            outputs=[list_output(io.String, "prompts", "One for each picture.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prompt: list[str] | None = None) -> bool | str:
        return check_texts(prompt or [], empty=NO_PROMPT)

    @classmethod
    def execute(
        cls,
        prompt: list[str],
        images: list[Tensor],
        evolver: list[ActorHandle],
        verdicts: list[tuple] | None = None,
        reflections: list[str] | None = None,
    ) -> io.NodeOutput:
        progress = NodeProgress(cls.hidden.unique_id)
        requests = as_requests(images, prompt, verdicts, reflections)
        ask = partial(single(evolver, "evolver").actor.evolve, progress=progress)
        prompts = [request.required_parent.prompt for request in requests]
        return shown_texts(progress, ask_by_prompt(ask, prompts, requests, "evolve"))


class CorrectorSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "CorrectorSampler",
            display_name="Corrector Sampler",
            description="Repaints each picture as its reflection asks.",
            search_aliases=["fix image", "reflection", "edit", "image to image", "retry"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="Pictures to correct: a batch, or a list."),
                prompt_input("What the pictures should show: one text, or one for each picture."),
                io.String.Input(
                    "reflections",
                    multiline=True,
                    default="",
                    tooltip="What to change, in the imperative: one text, or one for each picture.",
                ),
                flux_input("Who paints."),
                seed_input(),
                io.Int.Input(
                    "round",
                    default=1,
                    min=1,
                    max=1000,
                    tooltip="Which correction of a chain this is: 1, 2 and so on. Every round has "
                    "its own noise, the same as in Reflection Loop.",
                ),
                batch_size_input(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the pictures may change, one for all or one for each; every "
                    "pixel outside stays the same.",
                ),
                VerdictsSocket.Input(
                    "verdicts",
                    optional=True,
                    tooltip="From the Verifier Score of these pictures: a picture whose faults all "
                    "have a place changes only there. A mask is used instead.",
                ),
            ],
            outputs=[
                list_output(
                    io.Image,
                    "images",
                    "The corrected pictures in their order, at the size that FLUX paints; those "
                    "limited to a region at their own.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(
        cls, prompt: list[str] | None = None, reflections: list[str] | None = None
    ) -> bool | str:
        fine = check_texts(prompt or [], empty=NO_PROMPT)
        return fine if fine is not True else check_texts(reflections or [])

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        prompt: list[str],
        reflections: list[str],
        flux: list[FluxHandle],
        seed: list[int],
        mask: list[Tensor] | None = None,
        verdicts: list[tuple[ScoredPicture, ...]] | None = None,
        **numbers: list[int],
    ) -> io.NodeOutput:
        progress = NodeProgress(cls.hidden.unique_id)
        corrector = corrector_of(single(flux, "flux"))
        size = single(numbers["batch_size"], "batch_size")
        pictures = to_pictures(images)
        count = len(pictures)
        prompts = for_each(prompt, count, "prompt")
        texts = for_each(reflections, count, "reflection")
        drawn = [chosen_seed(each) for each in seed]
        noises = for_each(drawn, count, "seed"), for_each(numbers["round"], count, "round")
        seeds = list(map(fresh_seed, *noises, range(count)))
        regions = regions_of(mask)
        undrawn = regions == [None]
        places = for_each(regions, count, "mask")
        if verdicts is not None and undrawn:
            places = places_of_faults(verdicts_of(pictures, verdicts))
        asked = corrections(pictures, prompts, texts, seeds, places)
        painted = corrected(corrector, asked, size, progress)
        painted = list(map(in_its_region, asked, painted))
        said = f"{counted(count, 'picture')} corrected{drawn_text(seed, drawn)}"
        unlimited = mask is not None and undrawn and verdicts is None
        say(cls.hidden.unique_id, f"{said}\n{NO_MASK}" if unlimited else said)
        batches = [to_intermediate_device(batch) for batch in to_batches(painted)]
        return io.NodeOutput(batches, ui={"seed": list(map(str, drawn))})


def shown_texts(progress: NodeProgress, texts: list[str]) -> io.NodeOutput:
    """Texts as a list, shown on the node too, with what failed."""
    shown = "\n".join([*(text or "(nothing to change)" for text in texts), *progress.failures])
    say(progress.node_id, shown)
    return io.NodeOutput(texts, ui=ui.PreviewText(shown))


STEPS = [DraftSampler, VerifierScore, ReflectionWriterNode, PromptEvolverNode, CorrectorSampler]
