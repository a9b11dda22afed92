"""Parts, shards and what tells of them: `pytest tests/train/test_data_shards.py`."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from webdataset.compat import WebDataset

from reflectionflow_core.archive import files
from reflectionflow_core.record import InputError
from train.data.finish import finish
from train.data.records import Item, PaintedPicture, Pair, Slice
from train.data.repeats import NEARLY, REPEATED, near_pairs, repeats
from train.data.settings import DataSettings
from train.data.shards import (
    PARTS,
    Report,
    SampleReport,
    StoreStage,
    assemble,
    fingerprint,
    finished,
    part_file,
    recover,
    sample_of,
    thin,
    without_repeats,
)
from train.data.source import Source
from train.shard_index import index_of
from train.shard_lists import shards_in
from train.triplets import Triplets, encoded
from train.verifier.pairs import pairs_in


def scene(seed: int, size: int = 32) -> Image.Image:
    """Random soft blotches."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8))
    return small.resize((size, size), Image.Resampling.BICUBIC)


def pair(number: int, **changes: object) -> Pair:
    good, bad = (PaintedPicture(encoded(scene(2 * number + i), "png"), "p", number) for i in (0, 1))
    metadata = {"difficulty": "hard"}
    made = Pair(f"rule-{number:08d}-0", f"prompt {number}", good, bad, f"edit {number}", metadata)
    return replace(made, **changes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # slow, and guards a power cut only
    (tmp_path / PARTS).mkdir()
    return tmp_path


def store(
    folder: Path, place: int, *pairs: Pair, shard: int = 0, image_format: str = "png"
) -> None:
    items = tuple(Item(number, "") for number in range(len(pairs) + 1))
    work = Slice(shard, place, items, pairs=pairs, rejects={"too bad": 1}, counts={"pictures": 4})
    StoreStage(folder, "rule", "rule", image_format)(work)


def test_parts_become_a_shard_that_trainings_can_read(folder: Path) -> None:
    store(folder, 0, pair(0), pair(1))
    store(folder, 1, pair(2))
    report = assemble(folder, 0, 2, 8)
    triplets = Triplets(shards_in(folder))
    assert [t.key for t in triplets] == [pair(i).key for i in range(3)]
    assert [t.reflection for t in triplets] == ["edit 0", "edit 1", "edit 2"]
    assert (triplets[1].subset, triplets[1].prompt) == ("rule", "prompt 1")
    assert triplets[2].good.tobytes() == scene(4).tobytes()
    assert triplets[2].bad.tobytes() == scene(5).tobytes()
    assert triplets[2].metadata["good"]["seed"] == 2
    assert (report.items, report.rejects, report.counts) == (5, {"too bad": 2}, {"pictures": 8})
    assert report.difficulty == {"hard": 3}
    shard = (folder / "genref_000000.tar").read_bytes()
    assert report.sha256 == hashlib.sha256(shard).hexdigest()
    assert not list((folder / PARTS).iterdir())
    assert finished(folder, 0) == report


def test_webdataset_itself_reads_a_shard(folder: Path) -> None:
    store(folder, 0, pair(0), pair(1))
    assemble(folder, 0, 1, 8)
    read: Any = WebDataset(str(folder / "genref_000000.tar"), shardshuffle=False)
    samples = list(read.decode("pil"))
    assert [sample["prompt.txt"] for sample in samples] == ["prompt 0", "prompt 1"]
    assert samples[0]["good_image.png"].size == (32, 32)


def test_by_default_the_papers_loader_reads_a_shard(folder: Path) -> None:
    """Its five keys, in its order, with pictures that Pillow decodes."""
    form = DataSettings(out=folder).image_format
    good, bad = (PaintedPicture(encoded(scene(i), form), "p", i) for i in (0, 1))
    store(folder, 0, pair(0, good=good, bad=bad), image_format=form)
    assemble(folder, 0, 1, 8)
    keys = ("good_image.jpg", "bad_image.jpg", "reflection.txt", "prompt.txt", "subset.txt")
    read: Any = WebDataset(str(folder / "genref_000000.tar"), shardshuffle=False)
    ((first, second, *texts),) = list(read.decode("pil").to_tuple(*keys))
    assert (first.size, second.size) == ((32, 32), (32, 32))
    assert texts == ["edit 0", "prompt 0", "rule"]


def test_an_index_lies_beside_a_shard_and_names_its_bytes(folder: Path) -> None:
    store(folder, 0, pair(0), pair(1))
    assemble(folder, 0, 1, 8)
    assert (folder / "genref_000000.tar.index").is_file()
    index = index_of(folder / "genref_000000.tar")
    row = [index.key(number) for number in range(len(index))].index(pair(1).key)
    offset, size = index.places(row)["prompt.txt"]
    shard = (folder / "genref_000000.tar").read_bytes()
    assert shard[offset : offset + size] == b"prompt 1"
    assert len(index) == 2 and {index.subset_names[n] for n in index.subsets} == {"rule"}


def test_the_order_in_which_parts_are_written_does_not_matter(folder: Path) -> None:
    shards = []
    for order in ((0, 1, 2), (2, 0, 1)):
        for place in order:
            store(folder, place, pair(place))
        assemble(folder, 0, 3, None)
        (folder / "genref_000000.json").unlink()  # or it would be finished
        shards.append((folder / "genref_000000.tar").read_bytes())
    assert shards[0] == shards[1]


def test_difficulty_is_counted_of_what_is_kept(folder: Path) -> None:
    easy = pair(1, metadata={"difficulty": "easy"})
    store(folder, 0, pair(0), easy, pair(0, key="rule-00000009-0"))
    assert assemble(folder, 0, 1, 8).difficulty == {"easy": 1, "hard": 1}
    thin(folder, 0, {pair(0).key: "repeated"})
    report = finished(folder, 0)
    assert report and report.difficulty == {"easy": 1}


def thin_again(folder: Path, shard: int) -> None:
    thin(folder, shard, {pair(0).key: "twice"})


@pytest.mark.parametrize("again", [recover, thin_again])
def test_a_shard_is_not_lost_when_a_kill_falls_before_it_takes_its_place(
    folder: Path, monkeypatch, again
) -> None:
    store(folder, 0, pair(0), pair(1))
    first = assemble(folder, 0, 1, 8)
    assert assemble(folder, 0, 1, 8) == first  # as a task that is tried again
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("train.data.shards._put", Mock(side_effect=KeyboardInterrupt))
        thin_again(folder, 0)
    assert finished(folder, 0) is None
    again(folder, 0)
    report = finished(folder, 0)
    assert report and report.rejects["twice"] == 1
    assert [triplet.prompt for triplet in Triplets(shards_in(folder))] == ["prompt 1"]


def test_a_shard_gets_its_index_when_a_kill_falls_before_it_is_written(folder: Path) -> None:
    store(folder, 0, pair(0))
    assemble(folder, 0, 1, 8)
    index = folder / "genref_000000.tar.index"
    before = index.read_bytes()
    index.unlink()
    recover(folder, 0)
    assert index.read_bytes() == before


def test_a_shard_without_pairs_is_finished_and_leaves_no_tar(folder: Path) -> None:
    store(folder, 0)
    report = assemble(folder, 0, 1, 8)
    assert (report.samples, report.sha256) == ((), "")
    assert finished(folder, 0) == report
    assert not list(folder.glob("*.tar"))


def test_a_shard_that_is_cut_missing_or_without_its_report_is_not_finished(folder: Path) -> None:
    store(folder, 0, pair(0))
    assert finished(folder, 0) is None
    assemble(folder, 0, 1, 8)
    shard, report = folder / "genref_000000.tar", folder / "genref_000000.json"
    whole, text = shard.read_bytes(), report.read_bytes()
    shard.write_bytes(whole[:-1])
    assert finished(folder, 0) is None
    shard.unlink()
    assert finished(folder, 0) is None
    shard.write_bytes(whole)
    report.write_bytes(text[:40])
    assert finished(folder, 0) is None
    report.write_bytes(text)
    assert finished(folder, 0)


def test_a_damaged_part_is_named(folder: Path) -> None:
    store(folder, 0, pair(0))
    part = part_file(folder, 0, 0)
    part.write_bytes(part.read_bytes()[:700])
    with pytest.raises(InputError, match="damaged"):
        assemble(folder, 0, 1, 8)


def sample(good: int, bad: int, digest: str = "", words: str = "r") -> SampleReport:
    prints = (f"{good:064x}", f"{bad:064x}")
    return SampleReport(f"k {good} {bad}", "p", words, digest or f"{good} {bad}", prints)


def test_pictures_that_look_alike_are_repeats_only_where_the_words_are_the_same() -> None:
    said = ("Make it red.", "make it blue", "make it red")
    samples = [sample(i, 0, f"{i}" * 64, words) for i, words in enumerate(said)]
    kept, repeated = without_repeats(samples, near_bits=8)
    assert ([s.reflection for s in kept], repeated) == (list(said[:2]), {"nearly repeated": 1})
    shards = [(number, Report((each,), 1)) for number, each in enumerate(samples)]
    assert repeats(shards, 8) == {2: {0: NEARLY}}


def test_equal_and_nearly_equal_pairs_are_there_once() -> None:
    kept, repeated = without_repeats(
        [
            sample(0, 0),
            sample(0b111, 0b111),  # three bits off on both sides
            sample(0b11, 1 << 200 | 1 << 201 | 1 << 202 | 1 << 203),  # near on one side only
            sample(0b1111, 0),
            sample(0, 0),
        ],
        near_bits=3,
    )
    assert [s.prints[0][-1] for s in kept] == ["0", "3", "f"]
    assert repeated == {"nearly repeated": 1, "repeated": 1}
    assert len(without_repeats([sample(0, 0), sample(0, 0, "other")], None)[0]) == 2


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=12),
    st.integers(0, 3),
)
def test_near_pairs_are_all_that_comparing_each_with_each_finds(
    prints: list[tuple[int, int]], bits: int
) -> None:
    # Their four bits lie far from each other.
    spread = [sum((n >> bit & 1) << 61 * bit for bit in range(4)) for both in prints for n in both]
    data = b"".join(number.to_bytes(32, "big") for number in spread)
    looks = np.frombuffer(data, np.uint8).reshape(-1, 2, 32)
    expected = {
        (one, other)
        for one, other in itertools.combinations(range(len(prints)), 2)
        if all((a ^ b).bit_count() <= bits for a, b in zip(prints[one], prints[other], strict=True))
    }
    assert near_pairs(looks, bits) == expected


def test_near_repeats_of_other_shards_go_but_not_for_the_sake_of_what_goes() -> None:
    def shard(number: int, *prints: tuple[int, int, str]) -> tuple[int, Report]:
        samples = [sample(good, bad, name * 64) for good, bad, name in prints]
        return number, Report(tuple(samples), len(samples))

    shards = [
        shard(0, (0, 0, "a")),
        shard(1, (0b11, 0, "b"), (1 << 99, 0, "c")),
        shard(2, (0b1111, 0, "d"), (0, 0, "e")),  # the first is near b alone, which goes
    ]
    assert repeats(shards, 2) == {1: {0: NEARLY, 1: NEARLY}, 2: {1: NEARLY}}
    assert repeats(shards, None) == repeats([], 2) == {}
    same = [shard(number, (5, 5, "a")) for number in range(3)]
    assert repeats(same, None) == repeats(same, 2) == {1: {0: REPEATED}, 2: {0: REPEATED}}


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_repeats_add_up_and_the_first_is_kept(prints: list[tuple[int, int]]) -> None:
    samples = [sample(good, bad) for good, bad in prints]
    kept, repeated = without_repeats(samples, 0)
    assert len(kept) + repeated.total() == len(samples)
    assert [s.digest for s in kept] == list(dict.fromkeys(s.digest for s in samples))


def test_a_fingerprint_stays_when_a_picture_is_scaled_compressed_or_brighter() -> None:
    def off(a: Image.Image, b: Image.Image) -> int:
        return (int(fingerprint(a), 16) ^ int(fingerprint(b), 16)).bit_count()

    for seed in range(5):
        image = scene(seed, 256)
        jpeg = PaintedPicture(encoded(image, "jpg")).image
        brighter = ImageEnhance.Brightness(image).enhance(0.9)
        for same in (jpeg, brighter, image.resize((200, 200))):
            assert off(image, same) <= 8
        assert off(image, scene(seed + 100, 256)) > 60


def test_equal_pairs_have_equal_digests_and_others_not() -> None:
    assert sample_of(pair(1)) == sample_of(pair(1))
    digests = {sample_of(p).digest for p in (pair(1), pair(2), pair(1, prompt="q"))}
    assert len(digests) == 3
    swapped = replace(pair(1), good=pair(1).bad, bad=pair(1).good)
    assert sample_of(swapped).digest not in digests


def full_disk(path: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_full_disk_leaves_no_half_part_and_no_half_shard(folder: Path, monkeypatch) -> None:
    store(folder, 0, pair(0))

    def refuse(_: int) -> None:
        raise full_disk(folder)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", refuse)
        with pytest.raises(InputError, match="Free some space"):
            store(folder, 1, pair(1))
        with pytest.raises(InputError, match="Free some space"):
            assemble(folder, 0, 1, 8)
    assert [file.name for file in (folder / PARTS).iterdir()] == ["000000-00000.tar"]
    assert not [file for file in folder.iterdir() if file.is_file()]
    assert assemble(folder, 0, 1, 8).samples


def described(folder: Path, **settings: object) -> tuple[dict, DataSettings]:
    store(folder, 0, *(pair(i) for i in range(12)))
    store(folder, 0, pair(20), shard=1)
    for shard in (0, 1):
        assemble(folder, shard, 1, None)
    chosen = DataSettings.model_validate({"image_format": "png", **settings})
    rejects = Counter({"prompt repeated": 2})
    source = Source("rule", "rule", [Item(i, "") for i in range(15)], rejects, ())
    return finish(folder, (0, 1), [source], chosen), chosen


def test_the_manifest_counts_what_is_in_the_shards(folder: Path) -> None:
    licences = {"FLUX.1-dev": "non-commercial"}
    manifest, _ = described(folder, licences=licences)
    assert json.loads((folder / "manifest.json").read_bytes()) == manifest
    assert (manifest["triplets"], manifest["subsets"]) == (13, {"rule": 13})
    assert manifest["rejects"] == {"prompt repeated": 2, "too bad": 2}
    assert manifest["sources"]["rule"]["pictures"] == 8
    assert manifest["licences"] == licences
    for shard in manifest["shards"]:
        data = (folder / shard["name"]).read_bytes()
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
        assert shard["bytes"] == len(data)


def test_exports_name_pictures_that_unpacking_makes(folder: Path) -> None:
    described(folder, images=True)
    writer, verifier = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("writer.jsonl", "verifier.jsonl")
    )
    assert len(writer) == len(verifier) == 13
    assert {row["label"] for row in verifier} == {1, 2}
    pairs = pairs_in(str(folder / "verifier.jsonl"), seed=0, ties=0)
    assert [pairs.read(i).label for i in range(13)] == [row["label"] - 1 for row in verifier]
    assert pairs.read(0).subset == verifier[0]["subset"]
    for number, (chat, row) in enumerate(zip(writer[:12], verifier, strict=False)):
        good, bad = scene(2 * number).tobytes(), scene(2 * number + 1).tobytes()
        better = Image.open(folder / row[f"image{row['label']}"])
        worse = Image.open(folder / row[f"image{3 - row['label']}"])
        assert (better.tobytes(), worse.tobytes()) == (good, bad)
        assert Image.open(folder / chat["images"][0]).tobytes() == bad
        user, assistant = chat["messages"]
        assert f"prompt {number}" in user["content"][1]["text"]
        assert assistant["content"][0]["text"] == f"edit {number}"


def test_pictures_are_unpacked_by_tar_alone_under_the_same_names(folder: Path) -> None:
    described(folder)
    with tarfile.open(folder / "genref_000000.tar") as tar:
        members = {member.name for member in tar}
    row = json.loads((folder / "writer.jsonl").read_text().splitlines()[0])
    assert row["images"][0].removeprefix("images/") in members
    assert not (folder / "images").exists()


def test_the_code_of_the_data_card_reads_shards_with_a_gap(folder: Path, monkeypatch) -> None:
    described(folder)
    (folder / "genref_000000.tar").rename(folder / "genref_000005.tar")
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    exec(code.replace("    sample[", "    found = sample["), found := {})
    assert found["found"]


def test_the_data_card_tells_counts_licences_and_no_paths(folder: Path) -> None:
    described(
        folder,
        licences={"FLUX.1-dev": "non-commercial"},
        rule={"prompts": 15, "judge": "detector:/secret/place/mask2former"},
        painter={"model": "/secret/place/FLUX.1-dev"},
    )
    card = (folder / "README.md").read_text()
    for part in ("| rule | rule | 15 | 8 | 13 |", "| too bad | 2 |", "hard 13", "`FLUX.1-dev`"):
        assert part in card
    assert "non-commercial" in card
    assert "/secret" not in card
    assert "/secret" not in (folder / "manifest.json").read_text()
    assert "/secret" not in (folder / "verifier.jsonl").read_text()
