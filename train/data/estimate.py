"""What a configuration will take, computed from its numbers alone; no model or set is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from rich.console import Console
from rich.table import Table

from train.data.settings import DataSettings
from train.gpus import forward_operations

_HOURS = 3600.0  # seconds
FLUX_1 = (57, 3072)  # blocks and their width
TEXT_TOKENS = 512
_ROWS = {
    "items": "work items",
    "pictures": "pictures painted",
    "judged": "judgements",
    "calls": "VLM calls",
    "triplets": "triplets expected",
    "painting": "GPU h painting",
    "judging": "GPU h judging",
    "asking": "VLM h, one by one",
    "gigabytes": "GB of shards",
}


@dataclass(frozen=True, slots=True)
class Load:
    """The work of a source. `painting` and `judging` are GPU hours, `asking` hours of one call
    after the other, `gigabytes` those of the shards.
    """

    items: float = 0
    pictures: float = 0
    judged: float = 0
    calls: float = 0
    triplets: float = 0
    painting: float = 0
    judging: float = 0
    asking: float = 0
    gigabytes: float = 0

    def __add__(self, other: Load) -> Load:
        return Load(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Load)))


def loads_of(settings: DataSettings) -> dict[str, Load]:
    """The load of each source that is asked for, but for histories, which are not read here."""
    rule, reward, length, editing = (
        settings.rule,
        settings.reward,
        settings.length,
        settings.editing,
    )
    found = rule.prompts * settings.assumptions.rule_yield * rule.pairs
    rows = editing.pairs * len(editing.sets)
    ranked = {
        "reward": (reward, reward.prompts * reward.candidates, 0),
        # Short forms that the file lacks cost a call each; whether it does is not looked up.
        "length": (
            length,
            2 * length.prompts * length.candidates,
            length.prompts if settings.judges.vlm else 0,
        ),
    }
    loads = {"rule": _load(settings, rule.prompts, rule.prompts * rule.candidates, 1, found)}
    for name, (ask, pictures, calls) in ranked.items():
        pairs = ask.prompts * ask.pairs
        loads[name] = _load(settings, ask.prompts, pictures, len(ask.scorers), pairs, calls)
    described = 0 if editing.caption else rows
    loads["editing"] = _load(settings, rows, 0, 0, rows, described, written=True)
    return {name: load for name, load in loads.items() if load.items}


def _load(
    settings: DataSettings,
    items: float,
    pictures: float,
    scorers: int,
    pairs: float,
    calls: float = 0,
    written: bool = False,
) -> Load:
    """`pairs` are those before annotation and filter; `written` ones bring their reflection."""
    assumed = settings.assumptions
    asks = settings.reflections.how == "vlm" and not written
    calls += pairs if asks else 0
    judged = pictures * scorers + 2 * pairs * len(settings.filter.scorers)
    triplets = pairs * assumed.kept
    return Load(
        items,
        pictures,
        judged,
        calls,
        triplets,
        pictures / pictures_per_second(settings) / _HOURS,
        judged / assumed.judged_per_gpu_second / _HOURS,
        calls * assumed.seconds_per_call / _HOURS,
        2 * triplets * assumed.megabytes_per_picture / 1000 * (2 if settings.images else 1),
    )


def pictures_per_second(settings: DataSettings) -> float:
    """What one GPU paints, as assumed or as FLUX.1's operations say."""
    if settings.assumptions.pictures_per_gpu_second:
        return settings.assumptions.pictures_per_gpu_second
    width, height = settings.painter.size or (1024, 1024)
    tokens = TEXT_TOKENS + width // 16 * (height // 16)
    steps = settings.painter.steps or 30
    return settings.gpu.speed / (steps * forward_operations(*FLUX_1, tokens))


def estimate(settings: DataSettings) -> str:
    """A table for the terminal's width, and what it assumes."""
    console = Console()
    with console.capture() as captured:
        console.print(table_of(settings))
        console.print("\n".join(assumptions_of(settings)), highlight=False)
    return captured.get()


def table_of(settings: DataSettings) -> Table:
    loads = loads_of(settings)
    loads["all"] = sum(loads.values(), Load())
    table = Table(title="What this configuration will take", title_justify="left")
    table.add_column(no_wrap=True)
    for name in loads:
        table.add_column(name, justify="right", no_wrap=True)
    for name, what in _ROWS.items():
        table.add_row(what, *(_shown(getattr(load, name)) for load in loads.values()))
    return table


def assumptions_of(settings: DataSettings) -> Iterator[str]:
    """What the table assumes."""
    assumed = settings.assumptions
    yield f"Assumed ({assumed.source}):"
    counted = not assumed.pictures_per_gpu_second
    gpu = f"{settings.gpu.assumed}, by FLUX.1's operations" if counted else "a GPU"
    yield f"  {pictures_per_second(settings):.3g} pictures painted a second on {gpu}"
    yield f"  {assumed.judged_per_gpu_second:g} pictures judged a second on a GPU"
    yield f"  {assumed.seconds_per_call:g} seconds for a call of a vision-language model (VLM)"
    yield f"  {assumed.megabytes_per_picture:g} MB for a picture in a shard"
    yield f"  {assumed.rule_yield:.0%} of rule-based prompts neither too easy nor too hard"
    yield f"  {assumed.kept:.0%} of pairs kept by annotation and filter"
    yield "More GPUs divide the GPU hours, parallel calls the hours of calls."
    if settings.histories.runs:
        yield "Search histories are not counted: they are only read by the run itself."


def _shown(value: float) -> str:
    return f"{value:,.1f}" if 0 < value < 10 else f"{value:,.0f}"
