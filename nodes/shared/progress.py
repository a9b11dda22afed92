"""The core's Progress in ComfyUI: progress bars and previews on the node, and Cancel."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import comfy.model_management as mm
from comfy.cli_args import LatentPreviewMethod, args
from comfy.utils import ProgressBar
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image, ImageOps
from server import PromptServer

from ...reflectionflow_core.phases import doing
from ...reflectionflow_core.vlm.failures import tells_failures

MOST_SHOWN = 1024  # pixels a side of a round's pictures together
PREVIEW_SIDE = 256  # pixels; ComfyUI shows a smaller preview at its own size


class NodeProgress:
    """Steps, previews and a line of text on a node; `check` raises when the user cancelled.

    The line has `title`, the current phase, and `status`.
    """

    def __init__(self, node_id: str, title: str = "") -> None:
        self.node_id = node_id
        self.title = title
        self.status = ""
        self._phase = ""
        self.failures: list[str] = []  # for a node that shows its result in place of them

    def report(self, phase: str, done: int, total: int, preview: Image.Image | None = None) -> None:
        if phase != self._phase:
            self._phase = phase
            text = f"{self.title} {doing(phase)} …".strip()
            say(self.node_id, f"{text[:1].upper()}{text[1:]}{self.status}")
        shown = None
        if preview and args.preview_method != LatentPreviewMethod.NoPreviews:
            shown = ("JPEG", enlarged(preview), args.preview_size)
        ProgressBar(total).update_absolute(done, total, shown)

    def say_again(self) -> None:
        """Shows the phase again at the next report, because `status` has changed."""
        self._phase = ""

    def show_pictures(self, pictures: Sequence[Image.Image]) -> None:
        """Shows a finished round's pictures, even if ComfyUI was started without previews.

        They are sent as the last preview, since ComfyUI shows a node's latest preview rather than
        its results, and would otherwise end with an unfinished picture.
        """
        if context := get_executing_context():
            shown = ("JPEG", side_by_side(pictures), max(args.preview_size, MOST_SHOWN))
            # Not as a step of a ProgressBar: nothing is painted any more.
            get_progress_state().update_progress(context.node_id, 1, 1, shown)

    def say(self, text: str) -> None:
        """On the node until the next phase begins, and in ComfyUI's log."""
        logging.warning("%s", text)
        if tells_failures(text):
            self.failures.append(text)
        say(self.node_id, text)

    def check(self) -> None:
        mm.throw_exception_if_processing_interrupted()


def say(node_id: str, text: str) -> None:
    """Shows a text on a node, for the client that queued the prompt (see web/said.js)."""
    client = PromptServer.instance.client_id
    if client is not None:  # None would send it to every client
        lines = text.replace("\n", "  \n")  # Nodes 2.0 reads Markdown, which otherwise joins lines
        PromptServer.instance.send_progress_text(lines, node_id, client)


def enlarged(preview: Image.Image) -> Image.Image:
    factor = PREVIEW_SIDE // max(preview.size)
    if factor < 2:
        return preview
    size = (preview.width * factor, preview.height * factor)
    return preview.resize(size, Image.Resampling.BICUBIC)


def framed(picture: Image.Image) -> Image.Image:
    """Enlarged, and with a border, because ComfyUI shows previews without gaps."""
    return ImageOps.expand(enlarged(picture), 2, "#353535")


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Framed pictures of one size as a roughly square grid."""
    frames = [framed(picture) for picture in pictures]
    columns = math.ceil(math.sqrt(len(frames)))
    rows = math.ceil(len(frames) / columns)
    width, height = frames[0].size
    grid = Image.new("RGB", (columns * width, rows * height), "#353535")
    for number, frame in enumerate(frames):
        grid.paste(frame, (number % columns * width, number // columns * height))
    return grid
