"""The phases of a search that actors report, and their names on every screen."""

from __future__ import annotations

from typing import NamedTuple


class Phase(NamedTuple):
    doing: str  # what a screen shows while it lasts
    actor: str  # who is asked


PHASES = {
    "plan": Phase("planning stages", "planner"),
    "draft": Phase("painting", "generator"),  # whatever it paints, also after round 0
    "repaint": Phase("repainting", "generator"),
    "correct": Phase("correcting", "corrector"),
    "verify": Phase("judging", "verifier"),
    "detect": Phase("detecting objects", "detector"),
    "inspect": Phase("inspecting", "inspector"),
    "reflect": Phase("writing reflections", "reflection writer"),
    "evolve": Phase("rewriting prompts", "prompt evolver"),
    "probe": Phase("checking the judge", "vision-language model"),
    "ask": Phase("asking the model", "vision-language model"),
}


def doing(phase: str) -> str:
    """The name of what happens in a phase; a plugin's own phase is shown as it is."""
    return PHASES[phase].doing if phase in PHASES else phase
