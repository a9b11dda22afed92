"""The data card: what a folder of shards holds and where it came from, from its manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_HEAD = """\
---
task_categories:
- text-to-image
- image-to-image
size_categories:
- {size}
tags:
- reflection
- webdataset
---

# Reflection triplets

{triplets} triplets of a flawed picture, a better one and the instruction that leads from the one to
the other, made by `python -m train.data` of ReflectionFlow {version} after the recipe of GenRef
(*From Reflection to Perfection*, §3.2). Counts below are what the run counted.

| source | subset | work items | pictures painted | triplets |
|---|---|---|---|---|
{sources}

{difficulty}## What fell away

{rejects}

## Files

`genref_NNNNNN.tar` are WebDataset shards with the keys of GenRef-wds: `good_image.{form}`,
`bad_image.{form}`, `reflection.txt`, `prompt.txt`, `subset.txt`, and `told.json` (seeds, scores,
what was wrong, the task, the reasoning of the annotation: whatever of these the source has). The
JSON beside a shard repeats its texts; `manifest.json` has the counts, the settings and each shard's
SHA-256.

`writer.jsonl` are conversations for fine-tuning a reflection writer (trl's `messages` and
`images`; make the column of paths one of pictures with `cast_column("images", List(Image()))` of
datasets), `verifier.jsonl` are rows of two pictures, a prompt and a `label` (1 or 2, the better
picture). Both name pictures in `images/`; {images}.

```python
import webdataset

shards = webdataset.WebDataset("genref_{{000000..{last}}}.tar", shardshuffle=False)
for sample in shards.decode("pil"):
    sample["bad_image.{form}"], sample["reflection.txt"], sample["good_image.{form}"]
```

## How it was made

{how}

## Licences

{licences}

Nobody has looked at every picture. Pictures and texts come from models and sets with faults of
their own; what a verifier cannot see is not filtered.
"""
_HOW = {
    "rule": "Rule: prompts composed of objects, colours, numbers and positions; pictures judged by "
    "`{judge}`; of prompts that are neither too easy nor too hard a right picture and a wrong one.",
    "reward": "Reward: pictures of one prompt, ranked by {reward}; one of the best and one of the "
    "worst.",
    "length": "Length: the good picture is painted from a detailed prompt, the bad one from its "
    "short form, ranked together by {length}; the triplet has the short form.",
    "editing": "Editing: edited pictures of {sets}; the instruction is the reflection.",
    "histories": "Histories: corrections of earlier searches that raised the score.",
}


def card(manifest: Mapping[str, Any]) -> str:
    settings, shards = manifest["settings"], manifest["shards"]
    return _HEAD.format(
        size=_size(manifest["triplets"]),
        triplets=f"{manifest['triplets']:,}",
        version=manifest["versions"]["reflectionflow"],
        sources="\n".join(_rows(manifest["sources"])),
        difficulty=_difficulty(manifest["sources"]),
        rejects=_table(("reason", "number"), manifest["rejects"].items()),
        form=settings["image_format"],
        last=shards[-1]["name"][-10:-4] if shards else "000000",
        images=_images(settings["images"]),
        how="\n".join(_how(manifest["sources"], settings)),
        licences=_table(("what", "licence"), manifest["licences"].items())
        if manifest["licences"]
        else "None were told to the program. Name those of every model and set before you publish.",
    )


def _rows(sources: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    for name, counts in sources.items():
        painted = f"{counts['pictures']:,}" if "pictures" in counts else "none"
        numbers = f"{counts['items']:,} | {painted} | {counts['triplets']:,}"
        yield f"| {name} | {counts['subset']} | {numbers} |"


def _difficulty(sources: Mapping[str, Mapping[str, Any]]) -> str:
    known = sources.get("rule", {}).get("difficulty", {})
    if not known:
        return ""
    said = ", ".join(f"{name} {count:,}" for name, count in known.items())
    return f"Rule-based triplets by the share of right pictures of their prompt: {said}.\n\n"


def _how(sources: Iterable[str], settings: Mapping[str, Any]) -> Iterable[str]:
    words = {
        "judge": settings["rule"]["judge"].partition(":")[0],
        "reward": _named(settings["reward"]["scorers"]),
        "length": _named(settings["length"]["scorers"]),
        "sets": _named(settings["editing"]["sets"]),
    }
    yield from (f"* {_HOW[source].format(**words)}" for source in sources)
    model = settings["painter"]["model"]
    yield f"* Pictures were painted by `{model.rstrip('/').rpartition('/')[2]}`."
    told = (
        "a vision-language model that compared both pictures; where it preferred the other "
        "picture the pair was dropped"
        if settings["reflections"]["how"] == "vlm"
        else "rule, from what the judge found wrong"
    )
    yield f"* Reflections that a source does not bring were written by {told}."
    if settings["filter"]["scorers"]:
        yield f"* Kept is what {_named(settings['filter']['scorers'])} agreed with."


def _named(specs: Iterable[str]) -> str:
    """Specs without the paths of the machine that ran them."""
    return ", ".join(f"`{spec.partition(':')[0]}`" for spec in specs)


def _images(unpacked: bool) -> str:
    if unpacked:
        return "they lie there"
    return "unpack them with `mkdir images && for s in *.tar; do tar -xf $s -C images; done`"


def _table(head: tuple[str, str], rows: Iterable[tuple[str, Any]]) -> str:
    lines = [
        f"| {name} | {value:,} |" if isinstance(value, int) else f"| {name} | {value} |"
        for name, value in rows
    ]
    return "\n".join((f"| {head[0]} | {head[1]} |", "|---|---|", *lines)) if lines else "Nothing."


def _size(count: int) -> str:
    for most, name in (
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (1_000_000, "100K<n<1M"),
    ):
        if count < most:
            return name
    return "1M<n<10M"
