"""The model card of a reflection writer, written by the program that trained it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reflectionflow_core.writers.reflection_generator import REQUEST
from train.qwen.cards import estimate, machine, settings_table, skipped_line
from train.writer.settings import WriterSettings

_CARD = """# A reflection writer

It looks at a picture and its prompt and writes what should change. Trained by
`python -m train.writer` from {base} on the one request

> {request}

and loaded by `reflectionflow run ... --vlm FOLDER --writer reflection-generator`.

## Measured

After {step} steps, on chats whose answers were not learnt ("held out") and on the first of those
that were ("learnt"); a share is followed by its 95 % interval:

| figure | value | before training |
|---|---|---|
{figures}
{gain}
{examples}

## How it was made

{skipped}

{settings_table}

{machine}
"""

_GAIN = """
One correction of {pictures} flawed pictures by the corrector of {settings.gain.model}, judged by
the verifier {settings.gain.verifier!r}; the share whose score rises when it is told

| who wrote the reflection | share |
|---|---|
| this writer, from the picture alone | {writer} |
| the template, from the verifier's findings | {template} |
| nobody | {empty} |

It leads the template by {over_template} and no reflection by {over_empty}.
"""


def card(
    settings: WriterSettings,
    base: str,
    told: Sequence[Mapping[str, Any]],
    skipped: Mapping[str, int],
    gained: Mapping[str, Any] | None,
) -> str:
    """The card's text; `told` are the measurements of a run, the first one before training."""
    first, last = told[0], told[-1]
    return _CARD.format(
        base=base,
        request=REQUEST,
        step=last["step"],
        figures="\n".join(
            f"| {name} | {now} | {then} |"
            for (name, now), then in zip(_rows(last).items(), _rows(first).values(), strict=True)
        ),
        gain=_gain(settings, gained) if gained else "",
        examples=_examples(last),
        skipped=skipped_line(skipped),
        settings_table=settings_table(settings),
        machine=machine(settings.device),
    )


def _rows(told: Mapping[str, Any]) -> dict[str, str]:
    exact = {
        f"written to the letter, {side.replace('_', ' ')} ({told[side]['exact']['answers']})": (
            estimate(told[side]["exact"])
        )
        for side in ("held_out", "learnt")
        if side in told
    }
    return {
        "loss, held out": f"{told['loss']:.3f}",
        "words foreseen, held out": f"{told['token_accuracy']:.3f}",
        **exact,
    }


def _gain(settings: WriterSettings, gained: Mapping[str, Any]) -> str:
    shares = {name: estimate(gained[name]) for name in ("writer", "template", "empty")}
    leads = {f"over_{name}": estimate(lead) for name, lead in gained["leads"].items()}
    return _GAIN.format(settings=settings, pictures=gained["pictures"], **shares, **leads)


def _examples(told: Mapping[str, Any]) -> str:
    if "held_out" not in told:
        return ""
    rows = (
        f"| {row['prompt']} | {row['asked_for']} | {row['written']} |".replace("\n", " ")
        for row in told["held_out"]["examples"]
    )
    return "\n".join(
        ("Held-out examples:", "", "| prompt | asked for | written |", "|---|---|---|", *rows)
    )
