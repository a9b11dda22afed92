"""The studies by name: their arms and the budgets at which they are evaluated.

Budgets count painted pictures. A search with a smaller budget is the beginning of a larger one, so
every arm runs once, with the largest budget. A search stops at a picture that its verifier passes,
since no later one can rank higher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..miniature.erring import erring_rates
from ..record import InputError
from ..settings import Budget, SearchSettings
from .arms import Arm

BUDGETS = (1, 2, 4, 8, 16, 32)
STRATEGIES = ("baseline", "noise", "noise+prompt", "reflection")
GRID = ((16, 1), (8, 2), (4, 4), (2, 8), (1, 16))
ERRORS = (0.0, 0.05, 0.1, 0.2, 0.3)
OTHER_STRATEGIES = ("adaptive", "potential", "paths", "staged", "interleaved", "in-context")
JUDGE_ERROR = 0.1
LONG_STEPS = 30  # steps per picture; a preview always costs six
FIXED = "fixed"
COMPARED_POLICIES = ("restart", "steady")
SORTING = "sorting"
ALL = "all"
WIDTH = 2  # chains in all arms except the grid's


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """Options of an evaluation that studies use."""

    budgets: tuple[int, ...] = BUDGETS
    strategies: tuple[str, ...] = STRATEGIES
    grid: tuple[tuple[int, int], ...] = GRID
    errors: tuple[float, ...] = ERRORS
    steps: int = 240  # diffusion steps per prompt, for studies that count them

    def __post_init__(self) -> None:
        if not self.budgets or min(self.budgets) < 1:
            raise InputError("A budget is a number of pictures. Give numbers of 1 or more.")
        if not self.strategies:
            raise InputError(f"No strategy is given. Choose among {', '.join(STRATEGIES)}.")
        if unknown := set(self.strategies) - set(STRATEGIES):
            raise InputError(
                f"There is no strategy named {sorted(unknown)[0]!r}. "
                f"Choose among {', '.join(STRATEGIES)}."
            )
        if not self.grid or any(width < 1 or depth < 1 for width, depth in self.grid):
            raise InputError(
                "A grid consists of cells WIDTHxDEPTH. Give for example 16x1,4x4,1x16."
            )


def settings(strategy: str, width: int, pictures: int, stop: str = "passed") -> SearchSettings:
    """A search that paints at least `pictures` pictures in rounds of `width` if none passes.

    It paints fewer if previews use part of the steps.
    """
    rounds = -(-pictures // width)
    return SearchSettings(
        width=width, depth=rounds - 1, strategy=strategy, stop=stop, batch_size=min(width, 8)
    )


def table1(plan: StudyPlan) -> list[Arm]:
    """The paper's Table 1: what each axis adds to a baseline, the first picture of noise."""
    wanted = [name for name in plan.strategies if name != "baseline"] or ["noise"]
    return [Arm(name, settings(name, WIDTH, max(plan.budgets))) for name in wanted]


def table2(plan: StudyPlan) -> list[Arm]:
    """The paper's Table 2: width against depth, drafts counted as the first round."""
    return [
        Arm(f"{width}x{depth}", settings("reflection", width, width * depth))
        for width, depth in plan.grid
    ]


def difficulty(plan: StudyPlan) -> list[Arm]:
    """§4.4: reflection on prompts that are hard, medium or easy for the base model.

    Prompts are classified by other pictures than those compared.
    """
    return [_sorting(), *table1(plan)]


def _sorting() -> Arm:
    """Ten pictures of other noise than the compared arms', which tell how hard a prompt is."""
    ten = SearchSettings(width=10, depth=0, strategy="noise", batch_size=5)
    return Arm(SORTING, ten, dice=1)


def verifier(plan: StudyPlan) -> list[Arm]:
    """The effect of verifier errors on each strategy."""
    return [
        Arm(f"{arm.name}, {error:.0%} error", arm.settings, error) if error else arm
        for arm in table1(plan)
        for error in plan.errors
    ]


def controls(plan: StudyPlan) -> list[Arm]:
    """Reflection without one of its parts, with and without the rewritten prompt.

    The dense rewrite is a layout by an evolver that knows the verifier's findings. Without the
    prompt axis, the search has only the reflection's words.
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


def strategies(plan: StudyPlan) -> list[Arm]:
    """All strategies at every budget, with exact judges and with judges that err in 10 % of cases.

    Scouts paint few pictures and many previews; the study `scouts` counts their steps instead.
    """
    most = max(plan.budgets)
    arms = [Arm(name, settings(name, WIDTH, most)) for name in (*STRATEGIES[1:], *OTHER_STRATEGIES)]
    one = [
        Arm(f"{name}, one chain", settings(name, 1, most)) for name in ("reflection", "in-context")
    ]
    slow = Arm("staged, thing by thing", settings("staged", WIDTH, most), planner="rules-strict")
    return _also_with_errors([*arms, *one, slow])


def steps(plan: StudyPlan) -> list[Arm]:
    """Potential assessment by diffusion steps, at 30 steps per picture."""
    one = SearchSettings(
        width=WIDTH,
        depth=plan.steps,
        stop="passed",
        parents="best",
        budget=Budget(steps=plan.steps),
    )
    asked = {
        "noise by steps": replace(one, strategy="noise"),
        "potential of noise by steps": replace(one, strategy="potential", axes=("noise",)),
        "reflection by steps": one,
        "potential by steps": replace(one, strategy="potential"),
    }
    return _also_with_errors([Arm(name, each, steps=LONG_STEPS) for name, each in asked.items()])


def scouts(plan: StudyPlan) -> list[Arm]:
    """Scouts, and corrections limited to regions, by diffusion steps; all searches stop at a pass.

    Corrections are limited where all faults of a picture have a place (SearchSettings.correct).
    """
    most = max(plan.budgets) * LONG_STEPS
    budget = Budget(steps=most)
    one = SearchSettings(width=WIDTH, depth=most, stop="passed", budget=budget)
    names = ("noise", "reflection", "adaptive", "potential", "scouts")
    asked = {name: replace(one, strategy=name) for name in names}
    for name in ("reflection", "adaptive", "scouts"):
        asked[f"{name} in regions"] = replace(asked[name], correct="auto")
    arms = [
        Arm(f"{name}, {LONG_STEPS} steps", each, steps=LONG_STEPS) for name, each in asked.items()
    ]
    return [_sorting(), *_also_with_errors(arms)]


def adaptive(plan: StudyPlan) -> list[Arm]:
    """Adaptive budgets against the fixed schedule of two chains, one picture at a time."""
    most = max(plan.budgets)
    fixed = replace(settings("reflection", WIDTH, most), batch_size=1)
    adapting = replace(fixed, strategy="adaptive", depth=most, budget=Budget(images=most))
    arms = [Arm(FIXED, fixed), Arm("adapting", adapting)]
    arms += [Arm(f"adapting, {name}", replace(adapting, policy=name)) for name in COMPARED_POLICIES]
    return _also_with_errors(arms)


def _also_with_errors(arms: Sequence[Arm]) -> list[Arm]:
    return [*arms, *(replace(arm, name=with_errors(arm.name), error=JUDGE_ERROR) for arm in arms)]


def with_errors(name: str) -> str:
    """The name of the arm with erring judges."""
    return f"{name}, {JUDGE_ERROR:.0%} error"


def has_errors(name: str) -> bool:
    return name.endswith(with_errors(""))


def judged_like(name: str, other: str) -> str:
    """The name of arm `other` with the same judges as arm `name`."""
    return with_errors(other) if has_errors(name) else other


def _whole(part: str) -> str:
    return "whole" if part == "none" else part


def everything(plan: StudyPlan) -> list[Arm]:
    """All studies; an arm used by several studies runs once."""
    arms = [arm for study in STUDIES.values() for arm in study(plan)]
    return list({arm.name: arm for arm in arms}.values())


STUDIES: dict[str, Callable[[StudyPlan], list[Arm]]] = {
    "table1": table1,
    "table2": table2,
    "difficulty": difficulty,
    "verifier": verifier,
    "controls": controls,
    "strategies": strategies,
    "steps": steps,
    "scouts": scouts,
    "adaptive": adaptive,
}


def study_named(name: str) -> Callable[[StudyPlan], list[Arm]]:
    known = {**STUDIES, ALL: everything}
    if name not in known:
        raise InputError(f"There is no study named {name!r}. Choose one of: {', '.join(known)}.")
    return known[name]


def studies_in(name: str) -> tuple[str, ...]:
    """The single studies of a name, which may be ALL."""
    return tuple(STUDIES) if name == ALL else (name,)


def judged_by(arms: Sequence[Arm], judge: str, known: bool) -> list[Arm]:
    """The arms with a judge by name; `known`: the search knows its error rates.

    InputError if the judge does not exist or has no errors to know, or if arms have their own
    judges.
    """
    erring_rates(judge)
    if known and judge == "exact":
        raise InputError(
            "The exact judge makes no errors. Choose --judge noisy:RATE,CORRELATION, or leave "
            "out --known-errors."
        )
    if judge != "exact" and any(arm.error for arm in arms):
        raise InputError(
            "This study has its own judges. Leave out --judge, or choose the study table1, "
            "table2, difficulty or controls."
        )
    return [replace(arm, judge=judge, known=known) for arm in arms]


def study_question(study: str) -> str:
    """What a study measures, as a sentence."""
    if study == ALL:
        return "All studies; a search that several of them need runs once."
    return (STUDIES[study].__doc__ or "").partition("\n")[0]


def pictures_of(arms: Sequence[Arm]) -> int:
    """The largest number of pictures that these arms paint for one prompt."""
    return sum(map(_most_pictures, arms))


def _most_pictures(arm: Arm) -> int:
    planned, budget = arm.settings.scheduled_pictures, arm.settings.budget
    if budget.images is not None:
        planned = min(planned, budget.images)
    if budget.steps is not None and arm.steps is not None:
        cheapest = arm.steps // 2 if arm.settings.strategy == "scouts" else arm.steps
        planned = min(planned, budget.steps // cheapest)
    return planned
