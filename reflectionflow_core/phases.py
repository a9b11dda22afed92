"""The phases of a search reported by actors, and their names on screen."""

from __future__ import annotations

from typing import NamedTuple


class Phase(NamedTuple):
    doing: str  # shown on screen during the phase
    actor: str  # the actor that is asked


PHASES = {
    "plan": Phase("planning stages", "planner"),
    "draft": Phase("painting", "generator"),  # used for all painting, also after round 0
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
    """The displayed name of a phase; a plugin's own phase is displayed as it is."""
    return PHASES[phase].doing if phase in PHASES else phase
