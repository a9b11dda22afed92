"""The data engine in small: every stage once, without models and without Ray."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from reflectionflow_core.archive import files
from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import counted
from reflectionflow_core.texts import user_path
from train.data.engine import HERE
from train.data.models import missing_models
from train.data.run import make
from train.data.settings import SHAPES, SYNTHETIC, DataSettings, is_made
from train.data.shards import PARTS
from train.data.work import sources_of
from train.shard_lists import are_here, matching

SHARDS = "shards:"  # the kind of a set of edits
ASKING = ("condense", "caption")  # stages that need a model


def dry_run(settings: DataSettings) -> str:
    """Runs one slice of each source through all stages in this process; nothing is kept.

    Pictures are noise and judges random. Texts that need a model stay empty; missing files are
    replaced by prompts and edits of the shapes world. InputError, with all that is missing, where
    the run itself would stop for it.
    """
    settings, missing = without_missing(settings)
    with TemporaryDirectory() as folder:
        small = toy(settings, Path(folder))
        files.make_folder(small.out / PARTS)
        sources = [
            replace(source, stages=tuple(s for s in source.stages if s.name not in ASKING))
            for source in sources_of(small)
        ]
        summary = make(sources, small, lambda: nullcontext(HERE))
    models = missing_models(settings)
    template = settings.judges.reward_template
    missing += [template] if template and not user_path(template).is_file() else []
    if not missing and not models:
        return f"{summary}Dry run passed: every stage ran; nothing was kept.\n"
    lines = (f"{name} is missing.\n" for name in (*missing, *models))
    raise InputError(
        f"{summary}{''.join(lines)}Every stage ran without what is missing; nothing was kept. "
        f"The run itself needs {counted(len(missing), 'more file')} and "
        f"{counted(len(models), 'more model')}: put them there, or give other settings."
    )


def without_missing(settings: DataSettings) -> tuple[DataSettings, list[str]]:
    """The settings without missing files, and the missing files."""
    values = settings.model_dump()
    named = {file: file for file in map(str, values["benchmarks"])}
    named |= {values[part]["file"]: values[part]["file"] for part in ("reward", "length")}
    named |= {spec: spec.partition(":")[2] for spec in values["editing"]["sets"]}
    missing = {name: file for name, file in named.items() if file and not is_here(name, file)}
    values["benchmarks"] = [file for file in values["benchmarks"] if str(file) not in missing]
    for part in ("reward", "length"):
        values[part]["file"] = SHAPES if values[part]["file"] in missing else values[part]["file"]
    sets = [SHAPES if spec in missing else spec for spec in values["editing"]["sets"]]
    values["editing"]["sets"] = list(dict.fromkeys(sets))
    return DataSettings.model_validate(values), list(missing.values())


def is_here(name: str, file: str) -> bool:
    """Whether a file, or a match of a pattern, exists; always true for the shapes world."""
    if name.startswith(SHARDS):
        return are_here(file)
    return is_made(name) or Path(file).expanduser().exists() or bool(matching(file))


def toy(settings: DataSettings, folder: Path) -> DataSettings:
    """The settings without models and with one slice per source."""
    few = settings.engine.slice_items
    judged, scored = {"judge": SYNTHETIC}, {"scorers": [SYNTHETIC]}
    changes = {
        "painter": {"model": SYNTHETIC},
        "rule": {**judged, "prompts": min(settings.rule.prompts, few)},
        "reward": {**scored, "prompts": min(settings.reward.prompts, few)},
        "length": {**scored, "prompts": min(settings.length.prompts, few)},
        "editing": {"pairs": min(settings.editing.pairs, few)},
        "reflections": {"how": "template"},
        "filter": scored,
    }
    values = settings.model_dump()
    for group, changed in changes.items():
        values[group] |= changed
    return DataSettings.model_validate({**values, "out": folder, "images": False})
