"""A picture as a PNG file that says how it was made."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from ..record import Candidate
from .lines import seed_to_json
from .run_file import Run

PREFIX = "reflectionflow_"
_UNKNOWN_MODEL = "ComfyUI's MODEL"


def png(candidate: Candidate, run: Run | None, carried: Mapping[str, str]) -> bytes:
    """The file, with our own texts, `parameters` as galleries read them, and `carried` ones.

    Ours have a prefix, because ComfyUI reads a graph from "prompt" and "workflow".
    """
    own = {
        "user_prompt": run.prompt if run else candidate.prompt,
        "prompt": candidate.prompt,
        "reflection": candidate.reflection,
        "seed": json.dumps(seed_to_json(candidate.seed)),
        "score": json.dumps(candidate.score),
    }
    texts = {PREFIX + key: text for key, text in own.items()}
    texts["parameters"] = parameters(candidate, run.actors if run else {})
    info = PngImagePlugin.PngInfo()
    for key, text in {**texts, **carried}.items():
        info.add_itxt(key, text.encode("utf-8", "replace").decode())
    return encoded(candidate.image, info)


def encoded(image: Image.Image, info: PngImagePlugin.PngInfo | None = None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def parameters(candidate: Candidate, actors: Mapping[str, Any]) -> str:
    """The picture's making in the form of AUTOMATIC1111's WebUI, which Civitai and others read:
    prompt, negative prompt, and a line of settings. Folders are private and left out.
    """
    seed = candidate.seed if isinstance(candidate.seed, int) else candidate.seed.seed
    model = str(actors.get("model") or "")
    known = {
        "Steps": candidate.steps or None,
        "CFG scale": actors.get("guidance"),
        "Seed": seed,
        "Size": f"{candidate.image.width}x{candidate.image.height}",
        "Model": None if model == _UNKNOWN_MODEL else Path(model).name or None,
        "Reflection": candidate.reflection or None,
        "Version": "ReflectionFlow",
    }
    settings = (f"{name}: {_quoted(value)}" for name, value in known.items() if value is not None)
    return f"{candidate.prompt}\nNegative prompt: \n{', '.join(settings)}"


def _quoted(value: Any) -> str:
    """As it is, or in JSON's quotes where it would be read as several settings."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(',:"\n') else text
