"""Cost of a configuration, computed from its numbers; no model or data set is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import inf

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import duration
from train.data.models import memory_lines
from train.data.settings import MINIATURE, NO_SOURCE, SHAPES, SYNTHETIC, DataSettings, Engine
from train.gpus import forward_operations

_HOURS = 3600.0  # seconds per hour
FLUX_1 = (57, 3072)  # number of blocks, width
TEXT_TOKENS = 512
SMALL_MB = 0.004  # a picture of the miniature, with its share of a shard
_TIMES = ("painting", "judging", "asking", "hours", "idle")
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
    "hours": "hours",
    "idle": "GPUs idle",
}


@dataclass(frozen=True, slots=True)
class Load:
    """The work of a source.

    * `painting`, `judging`: GPU hours.
    * `asking`: hours of model calls, one after the other.
    * `gigabytes`: size of the shards.
    * `hours`: duration with the engine's pools.
    * `reserved`: GPU hours reserved during that time.
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
    hours: float = 0
    reserved: float = 0

    @property
    def idle(self) -> float | None:
        """The share of the reserved GPU hours without painting or judging."""
        used = self.painting + self.judging
        return max(0.0, 1 - used / self.reserved) if self.reserved else None

    def __add__(self, other: Load) -> Load:
        return Load(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Load)))


def loads_of(settings: DataSettings) -> dict[str, Load]:
    """The load of each source in use whose size the settings tell; see `uncounted`."""
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
        # Assumes a call for every short prompt; the file is not read.
        "length": (
            length,
            2 * length.prompts * length.candidates,
            length.prompts if settings.judges.vlm and settings.length.file != SHAPES else 0,
        ),
    }
    loads = {"rule": _load(settings, rule.prompts, rule.prompts * rule.candidates, 1, found)}
    for name, (ask, pictures, condensed) in ranked.items():
        pairs = ask.prompts * ask.pairs
        loads[name] = _load(settings, ask.prompts, pictures, len(ask.scorers), pairs, condensed)
    described = 0 if editing.caption else rows
    loads["editing"] = _load(settings, rows, 0, 0, rows, described=described, written=True)
    return {name: load for name, load in loads.items() if load.items}


def _load(
    settings: DataSettings,
    items: float,
    pictures: float,
    scorers: int,
    pairs: float,
    condensed: float = 0,
    described: float = 0,
    written: bool = False,
) -> Load:
    """`pairs` are counted before annotation and filter; `written` ones have a reflection.

    A model condenses and describes so many prompts, in the pools condense and annotate.
    """
    assumed = settings.assumptions
    asks = settings.reflections.how == "vlm" and not written
    annotated = described + (pairs if asks else 0)
    ranked, checked = pictures * scorers, 2 * pairs * len(settings.filter.scorers)
    triplets = pairs * assumed.kept
    painting = pictures / pictures_per_second(settings) / _HOURS
    judging, filtering = (n / assumed.judged_per_gpu_second / _HOURS for n in (ranked, checked))
    condensing, annotating = (n * assumed.seconds_per_call / _HOURS for n in (condensed, annotated))
    hours = _hours(settings.engine, painting, judging, filtering, condensing, annotating)
    return Load(
        items,
        pictures,
        ranked + checked,
        condensed + annotated,
        triplets,
        painting,
        judging + filtering,
        condensing + annotating,
        2 * triplets * megabytes(settings) / 1000 * (2 if settings.images else 1),
        hours,
        hours * gpus_of(settings.engine),
    )


def gpus_of(engine: Engine) -> float:
    """GPUs of all pools; sources run one after the other and use all of them."""
    return sum(pool.workers * pool.gpus for pool in (engine.paint, engine.judge, engine.filter))


def _hours(engine: Engine, *work: float) -> float:
    """Hours of the slowest pool or of GPUs shared by pools; everything else runs in parallel.

    `work` is that of painters, judges and filters (GPU hours), and of condensing and annotating.
    """
    pools = (engine.paint, engine.judge, engine.filter, engine.condense, engine.annotate)
    each = [hours / pool.workers for hours, pool in zip(work, pools, strict=True)]
    return max(*each, sum(work[:3]) / (gpus_of(engine) or inf))


def is_timed(settings: DataSettings) -> bool:
    """Whether times are estimated: what is known of FLUX.1 says nothing about the miniature."""
    small = settings.painter.model in (MINIATURE, SYNTHETIC) and settings.paints
    return not small or settings.assumptions.pictures_per_gpu_second is not None


def megabytes(settings: DataSettings) -> float:
    """Megabytes of a picture in a shard: as given, of 64 x 64 pixels, or the default."""
    assumed = settings.assumptions
    given = "megabytes_per_picture" in assumed.model_fields_set
    small = settings.painter.model == MINIATURE and settings.paints and not given
    return SMALL_MB if small else assumed.megabytes_per_picture


def pictures_per_second(settings: DataSettings) -> float:
    """Pictures painted per GPU second, as assumed or as computed for FLUX.1."""
    if settings.assumptions.pictures_per_gpu_second:
        return settings.assumptions.pictures_per_gpu_second
    width, height = settings.painter.size or (1024, 1024)
    tokens = TEXT_TOKENS + width // 16 * (height // 16)
    steps = settings.painter.steps or 30
    return settings.gpu.speed / (steps * forward_operations(*FLUX_1, tokens))


def estimate(settings: DataSettings) -> str:
    """A table and its assumptions, as text for the terminal; InputError without a source."""
    counted, lines = loads_of(settings), [*uncounted(settings)]
    if not counted and not lines:
        raise InputError(NO_SOURCE)
    lines += memory_lines(settings)
    table = table_of(settings)
    wide = Console().options.update(max_width=1000)
    least = Measurement.get(Console(), wide, table).maximum  # a narrower one would cut numbers
    console = Console(width=max(Console().width, least))
    with console.capture() as captured:
        if counted:
            console.print(table)
            lines = [*assumptions_of(settings), *lines]
        console.print("\n".join(lines), highlight=False)
    return captured.get()


def table_of(settings: DataSettings) -> Table:
    loads = loads_of(settings)
    loads["all"] = sum(loads.values(), Load())
    table = Table(
        title="Cost of this configuration",
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column(no_wrap=True)
    for name in loads:
        table.add_column(name, justify="right", no_wrap=True)
    timed = is_timed(settings)
    for name, what in _ROWS.items():
        values = [getattr(load, name) for load in loads.values()]
        if any(values) and (timed or name not in _TIMES):
            table.add_row(what, *(_shown(name, value) for value in values))
    return table


def assumptions_of(settings: DataSettings) -> Iterator[str]:
    """The assumptions of the table."""
    assumed, all_ = settings.assumptions, sum(loads_of(settings).values(), Load())
    yield f"Assumed ({assumed.source}):"
    counted, timed = not assumed.pictures_per_gpu_second, is_timed(settings)
    gpu = f"{settings.gpu.assumed}, by FLUX.1's operations" if counted else "a GPU"
    if all_.pictures and timed:
        yield f"  {pictures_per_second(settings):.3g} pictures painted per second on {gpu}"
    if timed:
        yield f"  {assumed.judged_per_gpu_second:g} pictures judged per second on a GPU"
    if all_.calls:
        yield f"  {assumed.seconds_per_call:g} seconds per call of a vision-language model (VLM)"
    yield f"  {megabytes(settings):g} MB per picture in a shard"
    if settings.rule.prompts:
        yield f"  {assumed.rule_yield:.0%} of rule-based prompts neither too easy nor too hard"
    yield f"  {assumed.kept:.0%} of pairs kept by annotation and filter"
    if not timed:
        yield f"Times are not estimated: the {settings.painter.model} painter needs no GPU."
        return
    gpus = gpus_of(settings.engine)
    where = f"{gpus:.3g} GPUs, shared without loss" if gpus else "the engine's workers"
    yield f"  hours with {where}, one source after the other; loading models is not counted"
    if pictures := _pictures_of_a_slice(settings):
        lost = duration(pictures / pictures_per_second(settings))
        yield f"After a crash, a painter repeats one slice: {pictures} pictures, {lost}."


def uncounted(settings: DataSettings) -> Iterator[str]:
    """The work that the table lacks."""
    if settings.histories.runs:
        yield "Search histories are not counted: only the run itself reads them."
    if settings.staged.prompts:
        yield "Questions with answers are not counted: only the run itself plans their pictures."
    if settings.paints_drafts:
        yield "Drafts are not counted: only the run itself finds out how many are flawed."


def _pictures_of_a_slice(settings: DataSettings) -> int:
    """The largest number of pictures painted for a slice."""
    rule, reward, length = settings.rule, settings.reward, settings.length
    each = (
        rule.candidates if rule.prompts else 0,
        reward.candidates if reward.prompts else 0,
        2 * length.candidates if length.prompts else 0,
    )
    return max(each) * settings.engine.slice_items


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name == "idle":
        return f"{value:.1%}"
    if name == "gigabytes":
        return f"{value:.3g}" if value < 10 else f"{value:,.0f}"
    return f"{value:,.1f}" if 0 < value < 10 and value % 1 else f"{value:,.0f}"
