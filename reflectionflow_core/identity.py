"""Digests of weights, by which a resumed run recognises its models wherever they are."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from .flux.folders import lora_files
from .record import InputError
from .registry import (
    MINIATURE_WEIGHTS,
    VERIFIERS,
    ActorChoice,
    check_lora,
    model_named,
)
from .texts import reason_of, user_path
from .verifiers.spec import parse_verifiers
from .vlm.named import ENDPOINT

LEFT_BY_WINDOWS = ("Thumbs.db", "desktop.ini")  # where somebody looked into a folder
SAMPLE = 1 << 20  # bytes that are read: enough to tell weights apart


def identity(choice: ActorChoice) -> dict[str, str]:
    """Digests of the weights, by which a resumed run recognises its model in any folder."""
    model_named(choice.model)
    check_lora(choice)
    weights = MINIATURE_WEIGHTS if choice.model == "miniature" else user_path(choice.model)
    known = {
        "model": digest(weights) if weights.exists() else choice.model,
        "lora": "+".join(map(digest, lora_files(user_path(choice.lora)))) if choice.lora else "",
    }
    # Only if used: older runs lack these names.
    if choice.vlm is not None:
        known["vlm"] = vlm_identity(choice.vlm)
    for name in ("verifier", "gate", "screen"):
        spec = getattr(choice, name)
        if spec is not None and (weights := verifier_identity(spec)):
            known[name] = weights
    specs = [spec for spec in (choice.verifier, choice.gate, choice.screen) if spec is not None]
    if any(part.name == "text" for spec in specs for part in parse_verifiers(spec, VERIFIERS)):
        known["ocr"] = ocr_identity()
    if choice.plugins:
        known["plugins"] = " ".join(digest(Path(plugin)) for plugin in choice.plugins)
    for name in (
        "transformer",
        "edit_model",
        "reward_base",
        "reward_template",
        "detector",
        "colour_judge",
    ):
        if getattr(choice, name) is not None:
            known[name] = weights_of(getattr(choice, name))
    return known


def verifier_identity(spec: str) -> str:
    """The spec with digests instead of folders; "" if none of its verifiers has weights."""
    parts = parse_verifiers(spec, VERIFIERS)
    if not any(part.source for part in parts):
        return ""
    return "+".join(str(replace(part, source=weights_of(part.source))) for part in parts)


def weights_of(source: str) -> str:
    """The digest of a folder or file; a hub ID unchanged."""
    source = source.removeprefix("onnx:")
    path = user_path(source)
    if not source or not path.exists():
        return source
    if path.suffix.lower() != ".onnx":
        return digest(path)
    from .detection.onnx import files_beside

    return " ".join(map(digest, (path, *files_beside(path))))


def ocr_identity() -> str:
    """Version and weights of the verifier text's reader; "" if it is not installed."""
    from .verifiers.text.reading import installed

    version, files = installed()
    return " ".join([version, *map(digest, files)]) if version else ""


def vlm_identity(spec: str) -> str:
    """The model that answers, without an endpoint's address."""
    if not spec.startswith(ENDPOINT):
        return weights_of(spec)
    from .vlm.profiles import command_line_folder, find_profile

    model = find_profile(spec.removeprefix(ENDPOINT), command_line_folder()).model
    return f"{spec} ({model})"


def digest(path: Path) -> str:
    """SHA-256 of a file's size and first bytes; for a folder, of all its files and their names.

    Hidden files do not count: macOS, git and downloads from the hub leave some.
    """
    whole = hashlib.sha256()
    try:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            name = file.relative_to(path).as_posix() if file != path else ""
            hidden = any(part.startswith(".") for part in name.split("/"))
            if file.is_file() and not hidden and file.name not in LEFT_BY_WINDOWS:
                whole.update(f"{name} {file.stat().st_size}\n".encode("utf-8", "surrogateescape"))
                with file.open("rb") as stream:
                    whole.update(stream.read(SAMPLE))
    except OSError as error:
        raise InputError(
            f"{error.filename or path} cannot be read ({reason_of(error)}). "
            "Give a model's own folder or file, and one that you may read."
        ) from error
    return whole.hexdigest()
