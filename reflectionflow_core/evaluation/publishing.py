"""Finishes an evaluation: its file, page and text, with their provenance."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..archive import files
from ..doctor import versions
from ..report.words import duration
from .journal import Journal
from .page import Section, results_page
from .tables import markdown

MEMORY = {"resident": "memory", "cuda": "GPU memory"}  # names of memory peaks


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the numbers come from; `more` is added to the provenance."""

    command: str
    seed: int | None
    cost: Mapping[str, Any]
    more: Mapping[str, Any] = field(default_factory=dict)


def publish(
    journal: Journal,
    title: str,
    notes: Sequence[str],
    sections: Sequence[Section],
    origin: Origin,
    record: Mapping[str, Any],
) -> str:
    """Writes the journal's file and page; returns the sections as Markdown, followed by the notes.

    `record` is added to the file, besides the header and the provenance.
    """
    provenance = publish_page(journal, title, notes, sections, origin)
    journal.finish({"provenance": provenance, **record})
    return "".join([*map(_section_text, sections), *(f"{note}\n" for note in notes)])


def publish_page(
    journal: Journal,
    title: str,
    notes: Sequence[str],
    sections: Sequence[Section],
    origin: Origin,
) -> dict[str, Any]:
    """Writes the page only, also of an evaluation that is not finished; returns the provenance."""
    provenance = provenance_of(origin)
    page = results_page(title, [*notes, *in_sentences(provenance)], sections)
    files.replace_file(journal.page, page.encode())
    return provenance


def _section_text(section: Section) -> str:
    tables = "\n\n".join(map(markdown, section.tables))
    return f"## {section.title}\n\n{section.about}\n\n{tables}\n\n"


def provenance_of(origin: Origin) -> dict[str, Any]:
    """Facts that must accompany published numbers."""
    return {
        "command": origin.command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.machine(),
        "seed": origin.seed,
        "versions": versions(),
        "cost": dict(origin.cost),
        **origin.more,
    }


def in_sentences(known: Mapping[str, Any]) -> list[str]:
    """The provenance as sentences for a page."""
    libraries = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    painting = known.get("painting")
    return [
        f"Command: {known['command']}",
        f"Date {known['date']}, seed {known['seed']}, {known['machine']}.",
        *([f"The pictures were painted with {_cost(painting)}."] if painting else []),
        f"This took {_cost(known['cost'])}.",
        f"Versions: {libraries}.",
    ]


def _cost(cost: Mapping[str, Any]) -> str:
    """Counts, seconds, devices and memory peaks as text."""
    spent = [
        f"{cost[name]:,} {name.replace('_', ' ')}"
        for name in ("pictures", "diffusion_steps", "vlm_calls")
        if name in cost
    ]
    peaks = [
        f"{amount / 1e9:.2f} GB of {MEMORY[name]}"
        for name, amount in cost["peak_memory_bytes"].items()
        if amount is not None
    ]
    devices = ", ".join(cost["devices"])
    return (
        f"{', '.join([*spent, duration(cost['seconds'])])} of work on {devices}, "
        f"at most {' and '.join(peaks) or 'an unknown amount of memory'} in one process"
    )
