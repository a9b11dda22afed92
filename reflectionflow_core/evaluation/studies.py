"""What can be evaluated, by name: the arms of each study, and the budgets they are read at.

Budgets count painted pictures. A search of a larger budget begins with the smaller one, so every
arm runs once, to the largest. It stops at a picture that its verifier passes: no later picture can
outrank that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..record import InputError, SearchSettings
from .arms import Arm

BUDGETS = (1, 2, 4, 8, 16, 32)
STRATEGIES = ("baseline", "noise", "noise+prompt", "reflection")
GRID = ((16, 1), (8, 2), (4, 4), (2, 8), (1, 16))
ERRORS = (0.0, 0.05, 0.1, 0.2, 0.3)
BEYOND = ("noise", "reflection", "staged", "interleaved", "in-context")
ERRING = 0.1
SORTING = "sorting"
ALL = "all"
WIDTH = 2  # chains of an arm that the grid does not say otherwise of


@dataclass(frozen=True, slots=True)
class Plan:
    """The choices of an evaluation that its studies read."""

    budgets: tuple[int, ...] = BUDGETS
    strategies: tuple[str, ...] = STRATEGIES
    grid: tuple[tuple[int, int], ...] = GRID
    errors: tuple[float, ...] = ERRORS

    def __post_init__(self) -> None:
        if not self.budgets or min(self.budgets) < 1:
            raise InputError("A budget is a number of pictures. Give numbers from 1 on.")
        if unknown := set(self.strategies) - set(STRATEGIES):
            raise InputError(
                f"There is no strategy named {sorted(unknown)[0]!r}. "
                f"Choose among {', '.join(STRATEGIES)}."
            )
        if not self.grid or any(width < 1 or depth < 1 for width, depth in self.grid):
            raise InputError("A grid has cells of WIDTHxDEPTH. Give for example 16x1,4x4,1x16.")


def settings(strategy: str, width: int, pictures: int, stop: str = "passed") -> SearchSettings:
    """A search of that many pictures at least, in rounds of `width`."""
    rounds = -(-pictures // width)
    return SearchSettings(
        width=width, depth=rounds - 1, strategy=strategy, stop=stop, batch_size=min(width, 8)
    )


def table1(plan: Plan) -> list[Arm]:
    """The paper's Table 1: what each axis adds. The baseline is the first picture of noise."""
    wanted = [name for name in plan.strategies if name != "baseline"] or ["noise"]
    return [Arm(name, settings(name, WIDTH, max(plan.budgets))) for name in wanted]


def table2(plan: Plan) -> list[Arm]:
    """The paper's Table 2: width against depth, drafts counted as the first round."""
    return [
        Arm(f"{width}x{depth}", settings("reflection", width, width * depth))
        for width, depth in plan.grid
    ]


def difficulty(plan: Plan) -> list[Arm]:
    """§4.4: reflection on prompts that the base finds hard, medium, easy.

    The pictures that sort the prompts are not the ones that are compared.
    """
    sorting = SearchSettings(width=10, depth=0, strategy="noise", batch_size=5)
    return [Arm(SORTING, sorting, dice=1), *table1(plan)]


def verifier(plan: Plan) -> list[Arm]:
    """How much each strategy depends on a verifier that errs."""
    return [
        Arm(f"{arm.name}, {error:.0%} error", arm.settings, error) if error else arm
        for arm in table1(plan)
        for error in plan.errors
    ]


def controls(plan: Plan) -> list[Arm]:
    """Reflection without one of its parts, with and without the rewritten prompt.

    The dense rewrite is a layout by an evolver that sees as sharply as the verifier. Without the
    prompt axis, reflection has its words only.
    """
    most = max(plan.budgets)
    full, rewritten = settings("reflection", WIDTH, most), settings("noise+prompt", WIDTH, most)
    words = SearchSettings(
        width=WIDTH,
        depth=full.depth,
        strategy="reflection",
        axes=("noise", "reflection"),
        stop="passed",
        batch_size=WIDTH,
    )
    dense = "dense prompt rewrite"
    parts = ("none", "picture without reflection", "reflection without picture")
    return [
        Arm("reflection", full),
        Arm("noise", settings("noise", WIDTH, most)),
        Arm("noise+prompt", rewritten),
        Arm(f"noise+prompt, {dense}", rewritten, control=dense),
        Arm(f"reflection, {dense}", full, control=dense),
        *(Arm(f"reflection, {part}", full, control=part) for part in parts[1:]),
        *(Arm(f"user's prompt, {_whole(part)}", words, control=part) for part in parts),
    ]


def strategies(plan: Plan) -> list[Arm]:
    """What planning, thinking first and remembering add, also where judges err in 10 %."""
    most = max(plan.budgets)
    two = {name: settings(name, WIDTH, most) for name in BEYOND}
    one = {f"{name}, one chain": settings(name, 1, most) for name in ("reflection", "in-context")}
    arms = [Arm(name, asked) for name, asked in {**two, **one}.items()]
    arms.append(Arm("staged, thing by thing", two["staged"], planner="rules-strict"))
    erring = [replace(arm, name=f"{arm.name}, {ERRING:.0%} error", error=ERRING) for arm in arms]
    return [*arms, *erring]


def _whole(part: str) -> str:
    return "whole" if part == "none" else part


def everything(plan: Plan) -> list[Arm]:
    """All studies; what several of them ask for runs once."""
    arms = [arm for study in STUDIES.values() for arm in study(plan)]
    return list({arm.name: arm for arm in arms}.values())


STUDIES: dict[str, Callable[[Plan], list[Arm]]] = {
    "table1": table1,
    "table2": table2,
    "difficulty": difficulty,
    "verifier": verifier,
    "controls": controls,
    "strategies": strategies,
}


def study_named(name: str) -> Callable[[Plan], list[Arm]]:
    known = {**STUDIES, ALL: everything}
    if name not in known:
        raise InputError(f"There is no study named {name!r}. Choose one of: {', '.join(known)}.")
    return known[name]


def studies_in(name: str) -> tuple[str, ...]:
    """The studies that a study is made of."""
    return tuple(STUDIES) if name == ALL else (name,)


def what_it_asks(study: str) -> str:
    """What a study asks, in a sentence."""
    return (STUDIES[study].__doc__ or "").partition("\n")[0]


def pictures_of(arms: Sequence[Arm]) -> int:
    """The most pictures that the arms paint for one prompt."""
    return sum(arm.settings.pictures for arm in arms)
