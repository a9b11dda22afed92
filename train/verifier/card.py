"""The model card of a reward verifier, written by the program that trained it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from train.qwen.cards import estimate, machine, settings_table, skipped_line
from train.verifier.settings import VerifierSettings

_CARD = """# A reward verifier

One number for a picture and its prompt; higher is better, and only pictures of one prompt can be
compared. Trained by `python -m train.verifier` from {base}, by comparing pictures in pairs
(Bradley-Terry{ties}).

```python
from reflectionflow_core.verifiers.reward import load_reward

verifier = load_reward("this folder", base="{base}")
```

## Measured

On {pairs} held-out pairs{tied}{apart}, after {step} steps:

| figure | value | before training |
|---|---|---|
{figures}

How far sigmoid(r1 - r2) can be believed:

| said between | pairs | said | came true |
|---|---|---|---|
{reliability}

## How it was made

{skipped}

{settings_table}

{machine}
"""


def card(
    settings: VerifierSettings,
    base: str,
    told: Sequence[Mapping[str, Any]],
    skipped: Mapping[str, int],
) -> str:
    """The card's text; `told` are the measurements of a run, the first one before training."""
    first, last = told[0], told[-1]
    rows = {
        "accuracy": (last["accuracy"], first["accuracy"]),
        **{
            f"accuracy, {name}": (last["by_subset"][name], first["by_subset"].get(name))
            for name in last["by_subset"]
        },
        "expected calibration error": (last["calibration_error"], first["calibration_error"]),
        "loss": (last["loss"], first["loss"]),
    }
    return _CARD.format(
        base=base,
        apart="" if settings.held_out else ", none of whose prompts was trained on",
        ties=f", with ties of weight {settings.ties} in Davidson's form" if settings.ties else "",
        pairs=last["pairs"],
        tied=f" and {last['ties']} that tie" if last["ties"] else "",
        step=last["step"],
        figures="\n".join(
            f"| {name} | {_number(now)} | {_number(then)} |" for name, (now, then) in rows.items()
        ),
        reliability="\n".join(
            f"| {row['from']:.1f} and {row['to']:.1f} | {row['pairs']} | {row['said']:.3f} "
            f"| {row['came_true']:.3f} |"
            for row in last["reliability"]
        ),
        skipped=skipped_line(skipped),
        settings_table=settings_table(settings),
        machine=machine(settings.device),
    )


def _number(value: Any) -> str:
    if value is None:
        return ""
    return estimate(value) if isinstance(value, Mapping) else f"{value:.3f}"
