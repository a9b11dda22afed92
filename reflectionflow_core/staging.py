"""Who thinks, plans and inspects, by name, and plans as text; `catalog.py` has the other seats.

A builder is asked with a choice, of which it needs nothing, and a vision-language model for those
that stand in the catalog's NEED_VLM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from .protocols import SILENT, Inspector, Planner, Progress
from .record import InputError, Stage
from .vlm.interface import Vlm

ARROW = "→"


class Thinker(Protocol):
    """Expands a prompt before the first picture; the result is `SearchSettings.draft_prompt`.

    `calls` of vision-language models for one prompt.
    """

    calls: int

    def expand(self, prompt: str, progress: Progress = SILENT) -> str: ...


def layout(choice: Any, vlm: Vlm | None = None) -> Thinker:
    del choice, vlm
    from .miniature.planner import LayoutThinker

    return LayoutThinker()


def vlm_thinker(choice: Any, vlm: Vlm | None = None) -> Thinker:
    del choice
    from .evolvers.think_first import PromptExpander

    return PromptExpander(seeing(vlm))


def rules(choice: Any, vlm: Vlm | None = None, whole_first: bool = True) -> Planner:
    del choice, vlm
    from .miniature.planner import RulePlanner

    return RulePlanner(whole_first)


def vlm_planner(choice: Any, vlm: Vlm | None = None, whole_first: bool = True) -> Planner:
    del choice
    from .planners.vlm import VlmPlanner

    return VlmPlanner(seeing(vlm), whole_first)


def exact(choice: Any, vlm: Vlm | None = None) -> Inspector:
    del choice, vlm
    from .miniature.inspector import ExactInspector

    return ExactInspector()


def vlm_inspector(choice: Any, vlm: Vlm | None = None) -> Inspector:
    del choice
    from .inspectors.vlm import VlmInspector

    return VlmInspector(seeing(vlm))


def seeing(vlm: Vlm | None) -> Vlm:
    if vlm is None:
        raise ValueError("Who asks a vision-language model is built with one.")
    return vlm


def as_text(stages: Sequence[Stage]) -> str:
    """A line a stage, for people to read and to change: "instruction → scene → object; object"."""
    return "\n".join(
        f" {ARROW} ".join([stage.instruction, stage.scene, "; ".join(stage.objects)])
        for stage in stages
    )


def from_text(text: str) -> tuple[Stage, ...]:
    """The stages of `as_text`, also with -> for the arrow; InputError where a line is none."""
    stages = []
    for line in filter(str.strip, text.splitlines()):
        parts = [part.strip() for part in line.replace("->", ARROW).split(ARROW)]
        if len(parts) != 3:
            raise InputError(
                f"The line {line.strip()!r} is no stage. Write: instruction {ARROW} scene {ARROW} "
                "what is to be seen by then, separated by semicolons."
            )
        objects = tuple(filter(None, (each.strip() for each in parts[2].split(";"))))
        stages.append(Stage(parts[0], parts[1], objects))
    return tuple(stages)


THINKERS: dict[str, Callable[[Any, Vlm | None], Thinker]] = {"vlm": vlm_thinker, "layout": layout}
PLANNERS: dict[str, Callable[[Any, Vlm | None], Planner]] = {
    "rules": rules,
    "rules-strict": partial(rules, whole_first=False),
    "vlm": vlm_planner,
    "vlm-strict": partial(vlm_planner, whole_first=False),
}
INSPECTORS: dict[str, Callable[[Any, Vlm | None], Inspector]] = {
    "exact": exact,
    "vlm": vlm_inspector,
}
