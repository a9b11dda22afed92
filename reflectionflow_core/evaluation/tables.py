"""The results of a study as tables of names and estimates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..miniature.prompts import FAMILIES
from ..report.words import counted
from .allocation import equal_allocation, portfolio_allocation
from .evaluation import Results
from .statistics import Estimate, cost_ratio, difference, mean, ratio, share
from .studies import (
    FIXED,
    LONG_STEPS,
    SORTING,
    STUDIES,
    StudyPlan,
    has_errors,
    judged_like,
    with_errors,
)

TOTALS = (1, 1.5, 2, 3, 4, 8)  # mean pictures per prompt, for a budget shared by all prompts
EQUAL = "equal shares"
# The paper's classes (§4.4) by correct pictures among ten: up to 3, 4 to 7, 8 or more.
CLASSES = {"hard": (0.0, 0.35), "medium": (0.35, 0.75), "easy": (0.75, 1.01)}


@dataclass(frozen=True, slots=True)
class Table:
    """If the columns are budgets, `budgets` are their x values in `unit`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Estimate | None, ...]], ...]
    budgets: tuple[float, ...] = ()
    unit: str = ""

    def data(self) -> dict[str, Any]:
        rows = {name: [cell and asdict(cell) for cell in cells] for name, cells in self.rows}
        return {"title": self.title, "columns": list(self.columns), "rows": rows}


def markdown(table: Table) -> str:
    lines = [
        f"| {' | '.join((table.title, *table.columns))} |",
        f"|{'---|' * (len(table.columns) + 1)}",
    ]
    for name, cells in table.rows:
        texts = [str(cell) if cell else "" for cell in cells]
        lines.append(f"| {' | '.join((name, *texts))} |")
    return "\n".join(lines)


def by_budget(results: Results, plan: StudyPlan) -> Table:
    """Every arm at every budget."""
    budgets = tuple(sorted(set(plan.budgets)))
    rows = [
        (name, tuple(share(results.success(name, budget)) for budget in budgets))
        for name in results.by_arm
        if name != SORTING
    ]
    columns, unit = tuple(f"N = {b}" for b in budgets), "pictures painted for a prompt"
    return Table("right after N pictures", columns, tuple(rows), budgets, unit)


def by_budget_exact_judges(results: Results, plan: StudyPlan) -> Table:
    """Every arm with exact judges."""
    return by_budget(results.of(n for n in results.by_arm if not has_errors(n)), plan)


def by_budget_noisy_judges(results: Results, plan: StudyPlan) -> Table:
    """Every arm with judges that make errors."""
    return by_budget(results.of(filter(has_errors, results.by_arm)), plan)


def by_family(results: Results, plan: StudyPlan) -> Table:
    """The paper's Table 1: every strategy at the largest budget, by family."""
    most = max(plan.budgets)
    asked = [name for name in plan.strategies if name != "baseline"]
    budgets = {"baseline": ("noise", 1), **{name: (name, most) for name in asked}}
    families = [family for family in FAMILIES if family in results.families]
    rows = []
    for name, (arm, budget) in budgets.items():
        if arm in results.by_arm:
            success = results.success(arm, budget)
            cells = [share(success[results.families == family]) for family in families]
            rows.append((f"{name}, N = {budget}", (share(success), *cells)))
    return Table("right", ("overall", *families), tuple(rows))


def gains(results: Results, plan: StudyPlan) -> Table:
    """The gain of reflection over each other arm, paired by prompt."""
    ours = next((name for name in results.by_arm if name.startswith("reflection")), None)
    others = [name for name in results.by_arm if ours and name not in (ours, SORTING)]
    return _differences(results, plan, [(str(ours), name) for name in others])


def _differences(results: Results, plan: StudyPlan, pairs: Sequence[tuple[str, str]]) -> Table:
    """The gain of the first arm of each pair over the second, at every budget."""
    budgets, success = sorted(set(plan.budgets)), results.success
    rows = [
        (
            f"{ours} minus {other}",
            tuple(difference(success(ours, b), success(other, b)) for b in budgets),
        )
        for ours, other in pairs
    ]
    return Table("paired difference", tuple(f"N = {b}" for b in budgets), tuple(rows))


def by_strategy(results: Results, plan: StudyPlan) -> Table:
    """Every arm at the largest budget and at a small one, by family."""
    budgets = sorted({min(4, max(plan.budgets)), max(plan.budgets)})
    families = [family for family in FAMILIES if family in results.families]
    rows = []
    for name in results.by_arm:
        for budget in budgets:
            success = results.success(name, budget)
            cells = tuple(share(success[results.families == family]) for family in families)
            rows.append((f"{name}, N = {budget}", cells))
    return Table("right", tuple(families), tuple(rows))


def by_atoms(results: Results, plan: StudyPlan) -> Table:
    """GenEval 2's two means over a prompt's atoms, for the first and the best picture.

    An atom is an object, a relation or, never met, an extra object. AM is the arithmetic mean over
    prompts of the share that is met. GM is the mean of geometric means; with an exact judge, which
    gives 0 or 1, it is the share of prompts with all atoms met.
    """
    budgets = sorted({1, max(plan.budgets)})
    rows = []
    for name in results.by_arm:
        cells: list[Estimate | None] = []
        for budget in budgets:
            met = results.atoms_met(name, budget)
            cells += [None, None] if met is None else [mean(met), share(met == 1)]
        if name != SORTING:
            rows.append((name, tuple(cells)))
    kinds = ("mean share met (AM)", "all met (GM)")
    columns = tuple(f"{kind}, N = {budget}" for budget in budgets for kind in kinds)
    return Table("things and relations (atoms) of the best picture", columns, tuple(rows))


def gain_over_noise(results: Results, plan: StudyPlan) -> Table:
    """The gain of each arm over noise with the same judge, paired by prompt."""
    pairs = [(name, judged_like(name, "noise")) for name in results.by_arm]
    return _differences(results, plan, [(name, noise) for name, noise in pairs if name != noise])


def gain_over_first(results: Results, plan: StudyPlan) -> Table:
    """The gain of the best of N pictures of an arm over its first picture."""
    budgets = sorted(set(plan.budgets) - {1})
    rows = [
        (
            name,
            tuple(difference(results.success(name, b), results.success(name, 1)) for b in budgets),
        )
        for name in results.by_arm
    ]
    return Table("better than its first", tuple(f"N = {b}" for b in budgets), tuple(rows))


def by_steps(results: Results, plan: StudyPlan) -> Table:
    """Every arm after a number of diffusion steps."""
    budgets = tuple(plan.steps * part // 8 for part in range(1, 9))
    rows = [
        (name, tuple(share(results.success(name, budget, "steps")) for budget in budgets))
        for name in results.by_arm
    ]
    columns, unit = tuple(f"S = {b}" for b in budgets), "diffusion steps for a prompt"
    return Table("right after S steps", columns, tuple(rows), budgets, unit)


def steps_saved(results: Results, plan: StudyPlan) -> Table:
    """Steps of searches with previews relative to those without.

    Columns: until equally many prompts are correct; in total, over all prompts; in total, over
    prompts whose first picture is wrong.
    """
    budgets = range(0, plan.steps + 1, 2)
    rows = []
    for ours, theirs in (("potential of noise", "noise"), ("potential", "reflection")):
        for named in (str, with_errors):
            arms = named(f"{ours} by steps"), named(f"{theirs} by steps")
            our, their = (
                np.array([results.success(arm, b, "steps") for b in budgets]).T for arm in arms
            )
            spent, other = (results.spent(arm, "steps") for arm in arms)
            wrong = ~results.success(arms[1], 1)
            cells = (
                cost_ratio(our, their, np.array(budgets)) if their[:, -1].any() else None,
                ratio(spent, other),
                ratio(spent[wrong], other[wrong]) if wrong.any() else None,
            )
            rows.append((" / ".join(arms), cells))
    columns = ("to be right as often", "to the end", "to the end, first picture wrong")
    return Table("share of the steps", columns, tuple(rows))


def by_worth(results: Results, plan: StudyPlan) -> Table:
    """Every arm after the diffusion steps of a number of whole pictures."""
    everyone = np.ones(len(results.families), bool)
    return _by_worth("right after S steps", everyone, results, plan)


def by_worth_if_hard(results: Results, plan: StudyPlan) -> Table:
    """As `by_worth`, of the prompts that are hard for the base model (§4.4)."""
    hard = results.share_right(SORTING) < CLASSES["hard"][1]
    title = f"right after S steps, {counted(int(hard.sum()), 'hard prompt')}"
    return _by_worth(title, hard, results, plan)


def _by_worth(title: str, chosen: np.ndarray, results: Results, plan: StudyPlan) -> Table:
    budgets = tuple(float(b * LONG_STEPS) for b in sorted(set(plan.budgets)))
    rows = []
    for name in _compared(results):
        success = (results.success(name, budget, "steps")[chosen] for budget in budgets)
        rows.append((name, tuple(share(each) if chosen.any() else None for each in success)))
    columns = tuple(f"S = {budget:g}" for budget in budgets)
    return Table(title, columns, tuple(rows), budgets, "diffusion steps")


def steps_against(results: Results, plan: StudyPlan) -> Table:
    """Steps of each search relative to two baselines: the fixed schedule, and reflection that
    stops at a pass.

    The fixed one is taken to be right as often, since no picture ranks above a pass. Columns:
    until equally many prompts are correct as with them in the end, as a share of the steps of the
    fixed schedule and of those that reflection takes for it; in total; in total where the first
    picture is wrong; and the final gain, paired by prompt.
    """
    most = max(plan.budgets) * LONG_STEPS
    grid = np.arange(0, most + 1, LONG_STEPS // 10)
    rows = []
    for name in _compared(results):
        stopping = judged_like(name, f"reflection, {LONG_STEPS} steps")
        spent, other = results.spent(name, "steps"), results.spent(stopping, "steps")
        our, their = (
            np.array([results.success(arm, budget, "steps") for budget in grid.tolist()]).T
            for arm in (name, stopping)
        )
        fixed = np.where(grid == most, their, False)  # all of its pictures are painted
        wrong = ~results.success(stopping, LONG_STEPS, "steps")
        cells = (
            cost_ratio(our, fixed, grid),
            cost_ratio(our, their, grid),
            mean(spent / most),
            ratio(spent, other),
            ratio(spent[wrong], other[wrong]) if wrong.any() else None,
            difference(our[:, -1], their[:, -1]),
        )
        rows.append((name, cells))
    columns = (
        "to be right as often as the fixed search",
        "... as the one that stops",
        "to the end, of the fixed search",
        "... of the one that stops",
        "... first picture wrong",
        "gain over it",
    )
    return Table("share of the steps", columns, tuple(rows))


def _compared(results: Results) -> list[str]:
    """The arms but the one that only tells how hard prompts are."""
    return [name for name in results.by_arm if name != SORTING]


def by_total(results: Results, plan: StudyPlan) -> Table:
    """One budget for all prompts, in equal shares or by the highest expected gain."""
    del plan
    rows, columns = _allocated(results)
    cells = [(name, tuple(map(share, row))) for name, row in rows.items()]
    unit = "pictures for a prompt, on average"
    return Table("right after T pictures a prompt", columns, tuple(cells), TOTALS, unit)


def gain_over_equal_shares(results: Results, plan: StudyPlan) -> Table:
    """The gain of a portfolio over equal shares, paired by prompt."""
    del plan
    rows, columns = _allocated(results)
    cells = []
    for name, row in rows.items():
        other = judged_like(name, EQUAL)
        if name != other:
            cells.append((f"{name} minus {other}", tuple(map(difference, row, rows[other]))))
    return Table("paired difference", columns, tuple(cells))


def _allocated(results: Results) -> tuple[dict[str, list[np.ndarray]], tuple[str, ...]]:
    """Whether each prompt is correct, (n,), by method of allocation and total."""
    ways = {
        EQUAL: (FIXED, equal_allocation),
        f"portfolio of {FIXED}": (FIXED, portfolio_allocation),
        "portfolio of adapting": ("adapting", portfolio_allocation),
    }
    rows = {
        named(way): [
            allocate(results.in_order(named(arm)), round(total * len(results.families)))
            for total in TOTALS
        ]
        for named in (str, with_errors)
        for way, (arm, allocate) in ways.items()
    }
    return rows, tuple(f"T = {total:g}" for total in TOTALS)


def by_shape(results: Results, plan: StudyPlan) -> Table:
    """The paper's Table 2: each cell of the grid after all its pictures."""
    rows = []
    for width, depth in plan.grid:
        name = f"{width}x{depth}"
        rows.append((name, (share(results.success(name, width * depth)),)))
    return Table("width x depth", ("right",), tuple(rows))


def by_difficulty(results: Results, plan: StudyPlan) -> Table:
    """§4.4: before and after, for prompts that are hard, medium or easy for the base model."""
    sorting, most = results.share_right(SORTING), max(plan.budgets)
    columns = [("baseline", "noise", 1)]
    columns += [(f"{name}, N = {most}", name, most) for name in plan.strategies]
    columns = [column for column in columns if column[1] in results.by_arm]
    rows = []
    for name, (low, high) in CLASSES.items():
        chosen = (sorting >= low) & (sorting < high)
        cells = [
            share(results.success(arm, budget)[chosen]) if chosen.any() else None
            for _, arm, budget in columns
        ]
        rows.append((f"{name} ({int(chosen.sum())} prompts)", tuple(cells)))
    return Table("right", tuple(title for title, _, _ in columns), tuple(rows))


def costs(results: Results, plan: StudyPlan) -> Table:
    """The cost of a prompt's whole search, until a pass or the largest budget."""
    del plan
    units = {"pictures": "images", "steps": "steps", "VLM calls": "calls", "seconds": "seconds"}
    rows = [
        (name, tuple(mean(results.spent(name, unit)) for unit in units.values()))
        for name in results.by_arm
    ]
    return Table("spent on a prompt", tuple(units), tuple(rows))


TABLES: dict[str, Sequence[Callable[[Results, StudyPlan], Table]]] = {
    "table1": (by_family, by_budget, gains, by_atoms, costs),
    "table2": (by_shape, costs),
    "difficulty": (by_difficulty, costs),
    "verifier": (by_budget, costs),
    "controls": (by_budget, gains, costs),
    "strategies": (
        *(by_budget_exact_judges, by_budget_noisy_judges),
        *(gain_over_noise, gain_over_first, by_strategy, by_atoms, costs),
    ),
    "steps": (by_steps, steps_saved, costs),
    "scouts": (by_worth, by_worth_if_hard, steps_against, costs),
    "adaptive": (by_total, gain_over_equal_shares, by_budget, costs),
}


def tables_of(study: str, results: Results, plan: StudyPlan) -> list[Table]:
    """The tables of one study; the results may contain further arms."""
    own = results.of(arm.name for arm in STUDIES[study](plan))
    return [make(own, plan) for make in TABLES[study]]
