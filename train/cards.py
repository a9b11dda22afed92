"""Cards of the data sets and models that these programs write, from templates/*.md."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from reflectionflow_core.writers.reflection_generator import REQUEST
from train.data.settings import DataSettings, is_made
from train.places import named, without_places
from train.settings import Strict, needs_of
from train.triplets import CHATS

if TYPE_CHECKING:
    from train.miniature.settings import MiniatureSettings
    from train.verifier.settings import VerifierSettings
    from train.writer.settings import WriterSettings

TEMPLATES = Path(__file__).parent / "templates"
PLACES = ("base", "data", "held_out", "gain")  # settings that may name folders
NOT_SHOWN = ("out", "device", "workers", "keep", "gpu", "report")  # say nothing about the model
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
SOURCES = {
    "rule": "Rule: prompts composed of objects, colours, counts and positions; pictures judged "
    "by `{judge}`; a correct and a wrong picture of each prompt that is neither too easy nor "
    "too hard.",
    "reward": "Reward: one of the best and one of the worst pictures of a prompt, ranked by "
    "{reward}.",
    "length": "Length: the good picture is painted from a detailed prompt, the bad one from its "
    "short form, ranked together by {length}; the triplet has the short form.",
    "editing": "Editing: edited pictures of {sets}; the instruction is the reflection.",
    "histories": "Histories: corrections in earlier searches that raised the score or that "
    "people preferred.",
}

Figures = Mapping[str, Any]


def triplets_card(manifest: Figures) -> str:
    """The card of a folder of shards, from its manifest."""
    settings, sources = manifest["settings"], manifest["sources"]
    chosen = DataSettings.model_validate(settings)
    count = manifest["triplets"]
    return _filled(
        "triplets",
        size=next((name for most, name in SIZES if count < most), "1M<n<10M"),
        triplets=f"{count:,}",
        version=manifest["versions"]["reflectionflow"],
        sources=table(
            ("source", "subset", "work items", "pictures painted", "triplets"),
            (
                (name, s["subset"], s["items"], _painted(name, s, chosen), s["triplets"])
                for name, s in sources.items()
            ),
        ),
        difficulty=_difficulty(sources.get("rule", {}).get("difficulty", {})),
        rejects=table(("reason", "number"), manifest["rejects"].items()),
        form=settings["image_format"],
        loader=""
        if settings["image_format"] == "jpg"
        else " The paper's own loader reads jpg only: for it, set `image_format=jpg`.",
        images="they are there"
        if settings["images"]
        else "unpack them with `mkdir images && for s in *.tar; do tar -xf $s -C images; done`",
        how="\n".join(f"* {line}" for line in _how(sources, settings)),
        licences=_licences(manifest),
    )


def _painted(name: str, source: Figures, settings: DataSettings) -> Any:
    """The number of pictures that a source painted; drafts are painted until enough are flawed."""
    drafts = name == "editing" and settings.paints_drafts
    return source.get("pictures", "not counted" if drafts else "none")


def chats_card(manifest: Figures) -> str:
    """The card of a folder of questions with answers, from its manifest."""
    settings = manifest["settings"]
    (source,) = manifest["sources"].values()
    return _filled(
        "chats",
        chats=f"{manifest['subsets'].get(CHATS, 0):,}",
        prompts=f"{source['items']:,}",
        pictures=f"{source.get('pictures', 0):,}",
        version=manifest["versions"]["reflectionflow"],
        teacher=named(settings["staged"]["teacher"]),
        form=settings["image_format"],
        rejects=table(("reason", "number"), manifest["rejects"].items()),
        licences=_licences(manifest),
    )


def _licences(manifest: Figures) -> str:
    if manifest["licences"]:
        return table(("what", "licence"), manifest["licences"].items())
    return "None was given. Name the licence of every model and data set before you publish."


def miniature_card(settings: MiniatureSettings, figures: Figures) -> str:
    """The card of the miniature's weights."""
    changed = settings.model_dump(mode="json", exclude={"out", "device"}, exclude_defaults=True)
    base, fixed = figures["base"], figures["one_correction"]
    shares = {
        "right after the VAE (the detector's reading)": figures["vae"],
        "right, all families": base["overall"],
        **{f"right, {name}": share for name, share in base.items() if name != "overall"},
        f"one correction fixes ({fixed['flawed']} flawed), true reflection": fixed["reflection"],
        "the same without a reflection": fixed["none"],
        "the same with another picture's reflection": fixed["shuffled"],
        "a new picture from fresh noise is right": fixed["anew"],
    }
    controls = {"none": "none", "shuffled": "another picture's", "anew": "a new picture"}
    rows = [(name, number(share)) for name, share in shares.items()]
    rows += [
        (f"true reflection minus {name}", with_error(fixed["leads"][kind], 3))
        for kind, name in controls.items()
    ]
    return _filled(
        "miniature",
        settings=settings,
        command=" ".join(
            ("python -m train.miniature", *(f"{name}={value}" for name, value in changed.items()))
        ),
        commit=_commit(),
        machine=f"{platform.system()} {platform.machine()}, {settings.device}",
        torch=version("torch"),
        figures=table(("figure", "value"), rows),
    )


def _commit() -> str:
    """The commit of this code, with "-dirty" where files were changed after it; "unknown" where it
    is not a repository of its own.
    """
    git, root = shutil.which("git"), Path(__file__).parents[1]
    if not git or not (root / ".git").exists():
        return "unknown"
    options = ("--always", "--dirty", "--abbrev=12", "--exclude=*")
    command = (git, "-C", str(root), "describe", *options)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def verifier_card(
    settings: VerifierSettings,
    base: str,
    measured: Sequence[Figures],
    skipped: Mapping[str, int],
) -> str:
    """The card of a reward verifier. The first measurement was made before training."""
    first, last = measured[0], measured[-1]
    rows = [
        _compared("accuracy", last["accuracy"], first["accuracy"]),
        *(
            _compared(f"accuracy, {name}", now, first["by_subset"].get(name))
            for name, now in last["by_subset"].items()
        ),
        _compared("expected calibration error", *(f["calibration_error"] for f in (last, first))),
        _compared("loss", last["loss"], first["loss"]),
    ]
    bins = (
        (
            f"{b['from']:.1f} and {b['to']:.1f}",
            b["pairs"],
            *map(number, (b["said"], b["came_true"])),
        )
        for b in last["reliability"]
    )
    return _filled(
        "verifier",
        base=named(base),
        ties=f", with ties of weight {settings.ties} in Davidson's form" if settings.ties else "",
        pairs=last["pairs"],
        tied=f" and {last['ties']} that tie" if last["ties"] else "",
        step=last["step"],
        figures=table(("figure", "value", "before training"), rows),
        reliability=table(("predicted between", "pairs", "predicted", "observed"), bins),
        made=_made(settings, skipped, settings.torch_device),
    )


def writer_card(
    settings: WriterSettings,
    base: str,
    measured: Sequence[Figures],
    skipped: Mapping[str, int],
    gained: Figures | None,
    kinds: tuple[bool, bool] = (True, False),
) -> str:
    """The card of a writer. The first measurement was made before training.

    `kinds`: whether it learnt to write reflections, and to answer the questions of staged searches.
    """
    first, last = measured[0], measured[-1]
    rows = [
        _compared("loss, held out", last["loss"], first["loss"]),
        _compared("tokens predicted, held out", last["token_accuracy"], first["token_accuracy"]),
    ]
    for side in ("held_out", "learnt"):
        if side in last:
            now, then = (figures[side]["exact"] for figures in (last, first))
            name = f"exact answers, {side.replace('_', ' ')} ({now['answers']})"
            rows.append(_compared(name, now, then))
    examples = (
        (row["prompt"], row["asked_for"], row["written"])
        for row in last.get("held_out", {}).get("examples", ())
    )
    return _filled(
        "writer",
        title="Reflection writer" if kinds[0] else "Planner, inspector and writer of two lists",
        about="\n".join(_about(named(base), kinds)),
        step=last["step"],
        figures=table(("figure", "value", "before training"), rows),
        gain=_gain(settings, gained) if gained else "",
        examples=_examples(examples) if "held_out" in last else "",
        made=_made(settings, skipped, settings.torch_device),
    )


def _examples(rows: Iterable[Sequence[Any]]) -> str:
    shown = table(("prompt or question", "asked for", "written"), rows)
    return f"Held-out examples:\n\n{shown}"


def _about(base: str, kinds: tuple[bool, bool]) -> Iterator[str]:
    for name, learnt in zip(("writer_reflections", "writer_staged"), kinds, strict=True):
        if learnt:
            yield _filled(name, base=base, request=REQUEST)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table, or "Nothing." without rows."""
    lines = [" | ".join(map(_cell, row)) for row in rows]
    ruled = (" | ".join(head), "|".join(["---"] * len(head)), *lines)
    return "\n".join(f"| {line} |" for line in ruled) if lines else "Nothing."


def number(value: Figures | float | None) -> str:
    """A number, or a mean with its 95 % interval; "" if not measured."""
    if isinstance(value, Mapping):
        return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    return "" if value is None else f"{value:.3f}"


def with_error(figure: Figures, digits: int) -> str:
    """A paired difference with its standard error."""
    return f"{figure['mean']:+.{digits}f} ± {figure['standard_error']:.{digits}f}"


def _filled(name: str, **values: Any) -> str:
    return (TEMPLATES / f"{name}.md").read_text(encoding="utf-8").format(**values)


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("\n", " ").replace("|", r"\|")


def _compared(name: str, now: Any, then: Any) -> tuple[str, str, str]:
    return name, number(now), number(then)


def _made(settings: Strict, skipped: Mapping[str, int], device: str) -> str:
    """Skipped samples, the settings and the machine."""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(skipped.items()))
    values = settings.model_dump(mode="json")
    values |= {name: without_places(values[name]) for name in PLACES if name in values}
    shown = (name for name in values if name not in NOT_SHOWN and _has_effect(settings, name))
    rows = ((name, repr(values[name])) for name in shown)
    return "\n\n".join(
        (
            f"Skipped since the run's last start: {reasons}."
            if skipped
            else "Every sample could be used.",
            table(("setting", "value"), rows),
            f"Made on {_machine(device)} with torch {version('torch')}, transformers "
            f"{version('transformers')}.",
        )
    )


def _has_effect(settings: Strict, name: str) -> bool:
    needs = needs_of(type(settings), name)
    return all(each.holds is None or each.holds(settings) for each in needs)


def _machine(device: str) -> str:
    from torch.cuda import get_device_name  # the data engine does not need torch

    return get_device_name() if device == "cuda" else platform.machine()


def _gain(settings: WriterSettings, gained: Figures) -> str:
    shares = {name: number(gained[name]) for name in ("writer", "template", "empty")}
    leads = {f"over_{name}": number(lead) for name, lead in gained["leads"].items()}
    count, failed = gained["pictures"], gained["not_judged"]
    left_out = f" Left out, since not judged: {failed:,} pictures." if failed else ""
    gain = type(settings.gain).model_validate(without_places(settings.gain.model_dump()))
    about = {"gain": gain, "pictures": count, "left_out": left_out}
    return _filled("writer_gain", **about, **shares, **leads)


def _difficulty(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    shares = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"Rule-based triplets by the share of right pictures of their prompt: {shares}.\n\n"


def _how(sources: Iterable[str], settings: Figures) -> Iterator[str]:
    names = {
        "judge": settings["rule"]["judge"].partition(":")[0],
        "reward": _named(settings["reward"]["scorers"]),
        "length": _named(settings["length"]["scorers"]),
        "sets": _named(settings["editing"]["sets"]),
    }
    yield from (SOURCES[source].format(**names) for source in sources)
    chosen = DataSettings.model_validate(settings)
    if "editing" in sources and any(map(is_made, chosen.editing.sets)):
        yield (
            "The good pictures of shapes and drafts are the flawed ones with what the reflection "
            "says fixed. Other faults stay, so a good picture need not show all of its prompt."
        )
    if chosen.paints:
        model = PureWindowsPath(settings["painter"]["model"])  # which reads both separators
        yield f"Pictures were painted by `{model.name}`."
    annotator = (
        "a vision-language model that compared both pictures; where it preferred the other "
        "picture the pair was dropped"
        if settings["reflections"]["how"] == "vlm"
        else "rule, from what the judge found wrong"
    )
    yield f"Reflections that a source does not bring were written by {annotator}."
    if settings["filter"]["scorers"]:
        yield f"Pairs were kept where {_named(settings['filter']['scorers'])} agreed."


def _named(specs: Iterable[str]) -> str:
    """Verifier specs without paths of this machine."""
    return ", ".join(f"`{spec.partition(':')[0]}`" for spec in specs)
