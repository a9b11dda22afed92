"""Fix Picture: corrects one picture, as the user or a critic says."""

from __future__ import annotations

from typing import Any

import numpy as np
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from ..reflectionflow_core.protocols import OfOneSize
from ..reflectionflow_core.record import Candidate, InputError, Region, Request, Verdict
from ..reflectionflow_core.search import complete, fresh_seed
from ..reflectionflow_core.settings import chosen_seed
from .comfy.masks import (
    NO_MASK,
    as_mask_text,
    is_undrawn,
    mask_for,
    mask_of_boxes,
    within_mask,
)
from .comfy.memory import to_intermediate_device
from .comfy.tensors import to_batch, to_pictures
from .shared.correcting import corrected, corrections, corrector_of
from .shared.judging import check_judges
from .shared.progress import NodeProgress, framed, say
from .shared.ranking import judged_text
from .shared.schema import (
    NO_PROMPT,
    check_texts,
    flux_input,
    output,
    prompt_input,
    schema,
    seed_input,
)
from .shared.sockets import (
    ActorHandle,
    BoxesSocket,
    FluxHandle,
    SearchActors,
    VerifierSocket,
    WriterSocket,
)

NO_WORDS = (
    "Nothing says what to change. Type it into words, or wire a Critic's writer, which decides."
)
UNWIRED = object()
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


class FixPicture(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "FixPicture",
            display_name="Fix Picture",
            description="Changes one picture as you say, or as a critic suggests. With a mask, "
            "nothing outside it changes.",
            search_aliases=["fix image", "edit", "inpaint", "correct", "retouch", "repair"],
            essentials_category="Image Tools",
            inputs=[
                flux_input("Who paints: a FLUX with a corrector."),
                io.Image.Input("image", tooltip="The picture to fix."),
                prompt_input("What the whole picture should show."),
                io.String.Input(
                    "words",
                    multiline=True,
                    default="",
                    tooltip="What to change, as an instruction: turn the mug green. If empty, "
                    "the writer decides.",
                ),
                seed_input(),
                WriterSocket.Input(
                    "writer",
                    optional=True,
                    lazy=True,
                    tooltip="From Critic: decides what to change if words is empty.",
                ),
                VerifierSocket.Input(
                    "verifier",
                    optional=True,
                    lazy=True,
                    tooltip="From Judge: its findings are given to the writer. A writer without "
                    "a vision model needs it.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the picture may change; every pixel outside stays the same.",
                ),
                io.Int.Input(
                    "feather",
                    default=4,
                    min=0,
                    max=64,
                    optional=True,
                    tooltip="Width of the soft edge in pixels, inside the mask.",
                    extra_dict={"advanced": True},
                ),
                BoxesSocket.Input(
                    "boxes",
                    optional=True,
                    tooltip="Instead of a mask: bounding boxes of the picture from one of "
                    "ComfyUI's detectors.",
                    # Newer frontends would give it a widget, and so a box that nobody drew.
                    extra_dict={"forceInput": True},
                ),
            ],
            outputs=[
                output(io.Image, "image", "The fixed picture, at the size of your picture."),
                output(io.String, "words", "The instruction; empty if nothing was wrong."),
                output(io.Image, "before_after", "Your picture and the fixed one, as a batch."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(
        cls, prompt: str | None = None, words: str | None = None, writer: Any = UNWIRED
    ) -> bool | str:
        fine = check_texts([prompt], empty=NO_PROMPT)
        return fine if fine is not True else check_texts([words], NO_WORDS * (writer is UNWIRED))

    @classmethod
    def check_lazy_status(cls, words: str, **given: Any) -> list[str]:
        """Critic and judge only if they are asked, so that no model is loaded in vain."""
        if words.strip():
            return []
        return [name for name in ("writer", "verifier") if given.get(name, UNWIRED) is None]

    @classmethod
    def execute(
        cls,
        flux: FluxHandle,
        image: Tensor,
        prompt: str,
        words: str,
        seed: int,
        mask: Tensor | None = None,
        feather: int = 4,
        boxes: Any = None,
        **critics: ActorHandle | None,
    ) -> io.NodeOutput:
        progress, corrector = NodeProgress(cls.hidden.unique_id), corrector_of(flux)
        picture, chosen = one_picture(image), chosen_seed(seed)
        undrawn = mask is not None and is_undrawn(mask)
        mask = place_of(None if undrawn else mask, boxes, image)
        if mask is not None:
            mask = mask_for(mask, image)
        said = words
        if not words.strip():
            words, said = found_wrong(flux, picture, prompt, progress=progress, **critics)
        fixed = image
        if words:
            shape = corrector.size if isinstance(corrector, OfOneSize) else picture.size
            canvas, place = with_margin(picture, shape)
            region = None if mask is None else region_on(canvas, place, mask)
            seeds = [fresh_seed(chosen, 1, 0)]
            asked = corrections([canvas], [prompt], [words], seeds, [region])
            (painted,) = corrected(corrector, asked, 1, progress)
            fixed = to_batch([at_size(painted, canvas).crop(place)])
            if mask is not None:
                fixed = within_mask(image, fixed, mask, feather)
        pair = [picture, *to_pictures([fixed])]
        if words and undrawn and mask is None:
            said = f"{said}\n{NO_MASK}"
        text = said if seed == chosen else f"{said}\nThe seed is {chosen}."
        say(cls.hidden.unique_id, text)
        shown = ui.PreviewImage(to_batch(list(map(framed, pair)))).as_dict()
        shown |= {**ui.PreviewText(text).as_dict(), "seed": [str(chosen)]}
        fixed, both = map(to_intermediate_device, (fixed, to_batch(pair)))
        return io.NodeOutput(fixed, words, both, ui=shown)


def place_of(mask: Tensor | None, boxes: Any, image: Tensor) -> Tensor | None:
    """Where the picture may change; raises InputError for both a mask and boxes."""
    if boxes is None:
        return mask
    if mask is not None:
        raise InputError("Both a mask and boxes say where to fix. Remove one of the wires.")
    return mask_of_boxes(boxes, image)


def one_picture(image: Tensor) -> Image.Image:
    """The picture of an IMAGE; raises InputError for several."""
    pictures = to_pictures([image])
    if len(pictures) > 1:
        raise InputError(
            f"Fix Picture fixes one picture, and {len(pictures)} came. Use Corrector Sampler for "
            "several, or Get Image from Batch for one of them."
        )
    return pictures[0]


def with_margin(picture: Image.Image, shape: tuple[int, int]) -> tuple[Image.Image, Box]:
    """The picture in the middle of a canvas with the proportions of `shape` (width, height), and
    its place there.

    The margin repeats the picture's edge. Without it, a painter of one size would stretch the
    picture.
    """
    width, height = shape
    across = max(picture.width, round(picture.height * width / height))
    down = max(picture.height, round(picture.width * height / width))
    left, top = (across - picture.width) // 2, (down - picture.height) // 2
    right, bottom = left + picture.width, top + picture.height
    margins = ((top, down - bottom), (left, across - right), (0, 0))
    canvas = Image.fromarray(np.pad(np.asarray(picture), margins, mode="edge"))
    return canvas, (left, top, right, bottom)


def region_on(canvas: Image.Image, place: Box, mask: Tensor) -> Region:
    """The region of a canvas that may change; picture at `place`, `mask` (1, height, width)."""
    left, top, right, bottom = place
    margins = (left, canvas.width - right, top, canvas.height - bottom)
    return Region(mask=as_mask_text(pad(mask, margins)))


def at_size(painted: Image.Image, like: Image.Image) -> Image.Image:
    same = painted.size == like.size
    return painted if same else painted.resize(like.size, Image.Resampling.LANCZOS)


def found_wrong(
    flux: FluxHandle,
    picture: Image.Image,
    prompt: str,
    progress: NodeProgress,
    writer: ActorHandle | None = None,
    verifier: ActorHandle | None = None,
) -> tuple[str, str]:
    """The writer's instruction for the picture, "" if there is none, and what the node says of it.

    Raises InputError without a writer, and for one that can only repeat a judge's words and has no
    judge; UnjudgedError if that judge fails.
    """
    if writer is None:
        raise InputError(NO_WORDS)
    if verifier is None and not writer.vlms:
        raise InputError(
            "This writer repeats what a judge finds wrong, and no judge is wired. Wire a Judge "
            "into verifier, or give the Critic a vision model."
        )
    check_judges(SearchActors(flux, verifier or writer, writer), progress)
    verdict = Verdict.unjudged("Nobody has looked at it.")
    if verifier is not None:
        (verdict,) = complete(verifier.actor.verify(prompt, [picture], progress), 1, "verify")
    if not writer.vlms:
        judged_text([picture], [verdict])  # raises
    request = Request(0, parent=Candidate(picture, prompt, 0, verdict))
    (words,) = complete(writer.actor.reflect(prompt, [request], progress), 1, "reflect")
    found = said_of(words, verdict, bool(writer.vlms), bool(progress.failures))
    return words, "\n".join([found, *progress.failures])


def said_of(words: str, verdict: Verdict, looks: bool, failed: bool) -> str:
    """What the node says of the writer's instruction, or of why there is none; the writer `looks`
    at the picture itself, or repeats the verdict."""
    if words:
        return words
    if verdict.passed or (looks and not failed):
        return "Nothing is wrong, so nothing was changed."
    return f"{'' if failed else 'The judge names no fault. '}Nothing was changed."
