"""`python -m train.miniature.ablation [key=value ...]`: what each part of the training does.

The training is the corrector's, on the miniature. The program makes the data, trains every variant
for as long, and measures on held-out prompts how well flawed pictures are corrected, and how long
a step of it takes. What is finished is kept, so a killed run is resumed. The table is in
`out/ablation.md`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from PIL import Image
from pydantic import Field, PositiveInt

from reflectionflow_core.archive.files import make_folder, replace_file
from reflectionflow_core.flux.lora import FILE_NAME
from reflectionflow_core.flux.painter import FluxCorrector
from reflectionflow_core.miniature.model import load_miniature
from reflectionflow_core.miniature.prompts import FAMILIES
from reflectionflow_core.miniature.world import SIZE
from reflectionflow_core.record import Request
from train.cards import table, with_error
from train.corrector.settings import CorrectorSettings, Mixture
from train.corrector.training import train
from train.data.run import run as make_data
from train.data.settings import DataSettings
from train.miniature import measure
from train.program import run_program
from train.settings import Seed, Strict
from train.triplets import SUBSETS

CONFIGS = Path(__file__).parents[1] / "configs"
PLAIN = "whole"
LAST_SHARES = {name: Mixture().of(name)[1] for name in SUBSETS}
# By what each variant differs from PLAIN.
VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "no condition drop": {"drop": {"image": 0.0, "together": 0.0}},
    "no task warm-up": {"mixture": {name: (share, share) for name, share in LAST_SHARES.items()}},
    "independent condition": {"lora": {"attention": "independent"}},
    "LoRA on all tokens": {"lora": {"tokens": "all"}},
}
ROUNDS = 9  # of timing, in turns


class AblationSettings(Strict):
    out: Path = Path("runs/ablation")
    seed: Seed = 0
    rule: PositiveInt = Field(default=250, description="prompts of this source, of about 276")
    reward: PositiveInt = Field(default=400, description="prompts of this source")
    length: PositiveInt = Field(default=400, description="prompts of this source")
    editing: PositiveInt = Field(default=2000, description="pairs of each set")
    steps: PositiveInt = Field(default=1500, description="of every training")
    batch: PositiveInt = 32
    measured: PositiveInt = Field(default=900, description="held-out prompts")


def estimate(settings: AblationSettings) -> str:
    samples = settings.steps * settings.batch
    return (
        f"{len(VARIANTS)} trainings of {settings.steps} steps of {settings.batch}, "
        f"{samples:,} samples each; then {settings.measured} held-out prompts.\n"
    )


def dry_run(settings: AblationSettings) -> str:
    """Everything once, as small as it can be."""
    few = {"rule": 8, "reward": 8, "length": 8, "editing": 16, "steps": 1, "batch": 2}
    with TemporaryDirectory() as folder:
        out = {"measured": 12, "out": Path(folder) / "out"}
        return run(settings.model_copy(update=few | out))


def run(settings: AblationSettings) -> str:
    make_folder(settings.out)
    sys.stderr.write(make_data(data_settings(settings)))
    for name in VARIANTS:
        train(corrector_settings(settings, name))
    measured = {name: measured_of(settings, name) for name in VARIANTS}
    table = table_of(measured, step_times(settings), settings)
    replace_file(settings.out / "ablation.md", table.encode())
    return table


def data_settings(settings: AblationSettings) -> DataSettings:
    """`data-miniature.yaml` with more of everything."""
    values = read("data-miniature")
    values |= {"out": settings.out / "data", "seed": settings.seed}
    for source in ("rule", "reward", "length"):
        values[source]["prompts"] = getattr(settings, source)
    values["rule"] |= {"candidates": 16, "pairs": 4}  # the vocabulary makes few prompts
    values["editing"] |= {"pairs": settings.editing, "sets": ["shapes", "drafts"]}
    return DataSettings.model_validate(values)


def corrector_settings(settings: AblationSettings, name: str) -> CorrectorSettings:
    """`corrector-miniature.yaml` with the variant's changes."""
    values = read("corrector-miniature")
    values |= {
        "data": str(settings.out / "data"),
        "out": folder_of(settings, name),
        "seed": settings.seed,
        "steps": settings.steps,
        "batch": settings.batch,
        "device": "cpu",
    }
    # Half of the training is the way from the first shares to the last.
    values["mixture"] = {"over": max(1, settings.steps // 2)}
    for part, changes in VARIANTS[name].items():
        values[part] = {**values.get(part, {}), **changes}
    return CorrectorSettings.model_validate(values)


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))


def folder_of(settings: AblationSettings, name: str) -> Path:
    return settings.out / name.lower().replace(" ", "-")


def measured_of(settings: AblationSettings, name: str) -> dict[str, Any]:
    """What one correction does with the flawed pictures of held-out prompts; kept in a file."""
    file = folder_of(settings, name) / f"measured-{settings.steps}-{settings.measured}.json"
    if not file.is_file():
        generator, corrector = load_miniature(folder_of(settings, name) / FILE_NAME)
        asked = measure.held_out(max(1, settings.measured // len(FAMILIES)))
        pictures = measure.paint(generator, asked)
        errors = measure.correction_errors(corrector, asked, pictures)
        found = measure.correction_rates(generator, corrector, asked, pictures)
        found["errors"] = {kind: each.tolist() for kind, each in errors.items()}
        replace_file(file, json.dumps(found, indent=2).encode() + b"\n")
    return json.loads(file.read_text(encoding="utf-8"))


def step_times(settings: AblationSettings) -> dict[str, float]:
    """Process seconds of a corrector's step, as the median ratio to PLAIN's, timed in turns."""
    correctors = {
        name: load_miniature(folder_of(settings, name) / FILE_NAME)[1] for name in VARIANTS
    }
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name, corrector in correctors.items():
            seconds[name].append(seconds_of(corrector))
    return {
        name: statistics.median(
            own / plain for own, plain in zip(seconds[name], seconds[PLAIN], strict=True)
        )
        for name in VARIANTS
    }


def seconds_of(corrector: FluxCorrector) -> float:
    prompts = [prompt for prompt, _ in measure.held_out(2)[:8]]
    pictures = [Image.new("RGB", (SIZE, SIZE), "grey")] * len(prompts)
    began = time.process_time()
    corrector.paint(
        [
            Request.correcting(picture, prompt, "add a red circle", seed)
            for seed, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True))
        ]
    )
    return time.process_time() - began


def table_of(
    measured: Mapping[str, Mapping[str, Any]],
    times: Mapping[str, float],
    settings: AblationSettings,
) -> str:
    """Markdown; ± is one standard error of the paired difference."""
    head = (
        *("training", "error", f"minus that of {PLAIN}", "without the reflection", "fixed"),
        *("by the reflection", "time of a step"),
    )
    rows: list[Sequence[str]] = []
    plain = np.array(measured[PLAIN]["errors"]["reflection"])
    for name, found in measured.items():
        own, without = (np.array(found["errors"][kind]) for kind in ("reflection", "none"))
        figures = (
            f"{own.mean():.3f}",
            with_error(measure.lead(own, plain), 4) if name != PLAIN else "",
            with_error(measure.lead(without, own), 4),
            f"{found['reflection']:.3f}",
            with_error(found["leads"]["none"], 3),
            f"{times[name]:.2f}",
        )
        rows.append((name, *figures))
    first = measured[PLAIN]
    about = (
        f"After {settings.steps} steps of {settings.batch}, on {first['flawed']} flawed pictures "
        "of held-out prompts: the flow-matching error of a correction, how much larger it is "
        "without the reflection, the share of pictures that one correction fixes, and how much of "
        "it by the reflection. "
        f"A new picture from fresh noise is right in {first['anew']:.3f}."
    )
    return f"{about}\n\n{table(head, rows)}\n"


if __name__ == "__main__":
    run_program(
        "train.miniature.ablation",
        __doc__,
        AblationSettings,
        estimate=estimate,
        dry_run=dry_run,
        run=run,
    )
