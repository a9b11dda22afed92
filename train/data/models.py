"""The models that a configuration names, by the stage that loads them: which are missing here, and
whether those that share a GPU fit into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from reflectionflow_core.flux.folders import local_folder, weight_files
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import VERIFIERS
from reflectionflow_core.texts import user_path
from reflectionflow_core.verifiers.spec import parse_verifiers
from train.base_models import PARTS, is_cached
from train.data.settings import DETECTOR, MINIATURE, SYNTHETIC, DataSettings
from train.data.teachers import RULES
from train.gpus import ENCODERS, GPUS, USABLE

ENDPOINT = "endpoint:"
FLUX_1 = 11_901_408_320  # weights of FLUX.1-dev's transformer
STAGES = ("paint", "judge", "filter")  # those that load models onto GPUs


def models_by_stage(settings: DataSettings) -> dict[str, list[str]]:
    """Folders and hub IDs of each stage; models behind an endpoint are not among them."""
    rule, judges, scorers = settings.rule, settings.judges, settings.scorers
    paints = settings.paints and settings.painter.model not in (MINIATURE, SYNTHETIC)
    detects = rule.prompts and rule.judge.startswith(DETECTOR)
    found = {
        "paint": [settings.painter.model if paints else ""],
        "judge": [
            *((rule.judge.removeprefix(DETECTOR), rule.colour_judge) if detects else ()),
            *_scoring(settings, scorers["reward"] + scorers["length"]),
        ],
        "filter": _scoring(settings, scorers["filter"]),
        "annotate": [
            judges.vlm or "",
            (settings.reflections.vlm or "") if settings.reflections.how == "vlm" else "",
            settings.staged.teacher if settings.staged.prompts else "",
        ],
    }
    return {
        stage: [m for m in dict.fromkeys(models) if m not in ("", RULES) and ENDPOINT not in m]
        for stage, models in found.items()
    }


def _scoring(settings: DataSettings, specs: list[str]) -> list[str]:
    parts = [p for s in specs if s != SYNTHETIC for p in parse_verifiers(s, VERIFIERS)]
    base = settings.judges.reward_base if any(p.name == "reward" for p in parts) else None
    return [*(part.source for part in parts if part.name != "noisy"), base or ""]


def missing_models(settings: DataSettings) -> list[str]:
    """The models that are neither folders nor in the hub's cache."""
    named = dict.fromkeys(m for models in models_by_stage(settings).values() for m in models)
    return [name for name in named if not user_path(name).exists() and not is_cached(name)]


def memory_lines(settings: DataSettings) -> Iterator[str]:
    """What each stage's models take of a GPU; InputError if those of known size do not fit."""
    pools = {name: getattr(settings.engine, name) for name in STAGES}
    stages = {name: models for name, models in models_by_stage(settings).items() if name in pools}
    on_gpu = {name: models for name, models in stages.items() if models and pools[name].gpus}
    if not on_gpu:
        return
    gpus = sum(pool.workers * pool.gpus for pool in pools.values())
    each = {name: math.ceil(round(pools[name].workers / gpus, 6)) for name in on_gpu}
    sizes = {name: _size(settings, name, models) for name, models in on_gpu.items()}
    known = sum(size * each[name] for name, size in sizes.items() if size)
    has = GPUS[settings.gpu.name].memory_gb * USABLE
    parts = ", ".join(_said(name, each[name], sizes[name]) for name in on_gpu)
    line = f"Memory of weights on a GPU: {parts}; {settings.gpu.name} has {has:.0f} GB for them."
    if known / 1e9 <= has:
        yield line
        return
    larger = sorted((g.memory_gb, name) for name, g in GPUS.items() if g.memory_gb * USABLE >= has)
    fitting = [name for memory, name in larger if memory * USABLE * 1e9 >= known]
    also = f" or gpu.name={fitting[0]}" if fitting else ""
    raise InputError(
        f"{line} This does not fit: they need {known / 1e9:.0f} GB. Give painter.plan=streamed, "
        f"more gpus for each worker of engine.paint{also}."
    )


def _said(stage: str, workers: int, size: float | None) -> str:
    many = f"{workers} x " if workers > 1 else ""
    return f"{stage} {many}{size / 1e9:.0f} GB" if size else f"{stage} of unknown size"


def _size(settings: DataSettings, stage: str, models: list[str]) -> float | None:
    """Bytes of all models of a stage; None if one is not here and not FLUX.1, or is streamed."""
    if stage == "paint" and settings.painter.plan not in (None, "resident"):
        return None
    sizes = [_weights(settings, model) for model in models]
    return None if None in sizes else sum(size or 0.0 for size in sizes)


def _weights(settings: DataSettings, model: str) -> float | None:
    folder = local_folder(model)
    if folder is not None and folder.is_dir():
        parts = [folder / part for part in PARTS if (folder / part).is_dir()] or [folder]
        return sum(_bytes(file) for part in parts for file in weight_files(part)) or None
    is_flux = "FLUX.1" in model and model == settings.painter.model
    return (FLUX_1 + ENCODERS) * (4 if settings.painter.dtype == "fp32" else 2) if is_flux else None


def _bytes(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
