"""The core's Progress on ComfyUI's screen, and ComfyUI's Cancel in the core."""

from __future__ import annotations

import comfy.model_management as mm
from comfy.cli_args import LatentPreviewMethod, args
from comfy.utils import ProgressBar
from PIL import Image, ImageOps
from server import PromptServer

from ...reflectionflow_core.phases import doing

PREVIEW_SIDE = 256  # pixels; ComfyUI shows a smaller preview at its own size


class NodeProgress:
    """Steps, previews and a line of text on a node; `check` raises when the user cancelled."""

    def __init__(self, node_id: str, title: str = "") -> None:
        self.node_id = node_id
        self.title = title
        self._phase = ""

    def report(self, phase: str, done: int, total: int, preview: Image.Image | None = None) -> None:
        if phase != self._phase:
            self._phase = phase
            say(self.node_id, f"{self.title} {doing(phase)} …".strip().capitalize())
        shown = None
        if preview is not None and args.preview_method != LatentPreviewMethod.NoPreviews:
            shown = ("JPEG", enlarged(preview), args.preview_size)
        ProgressBar(total).update_absolute(done, total, shown)

    def check(self) -> None:
        mm.throw_exception_if_processing_interrupted()


def say(node_id: str, text: str) -> None:
    """A text on a node, for the client that asked; it needs no JavaScript of ours."""
    client = PromptServer.instance.client_id
    if client is not None:  # None would send it to every client
        PromptServer.instance.send_progress_text(text, node_id, client)


def enlarged(preview: Image.Image) -> Image.Image:
    factor = PREVIEW_SIDE // max(preview.size)
    if factor < 2:
        return preview
    size = (preview.width * factor, preview.height * factor)
    return preview.resize(size, Image.Resampling.BICUBIC)


def framed(picture: Image.Image) -> Image.Image:
    """Enlarged, and with a border, because ComfyUI shows previews without gaps."""
    return ImageOps.expand(enlarged(picture), 2, "#353535")
