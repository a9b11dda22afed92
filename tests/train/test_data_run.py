"""Whole runs of the data engine in this process, on the miniature: plans, settings, going on.

pytest tests/train/test_data_run.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import yaml
from PIL import Image
from pyarrow import parquet

from reflectionflow_core.archive import files
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.record import InputError
from train.cards import _how, table
from train.data import work
from train.data.dry_run import dry_run
from train.data.engine import Runner, run_here
from train.data.estimate import Load, assumptions_of, estimate, loads_of
from train.data.records import Slice
from train.data.run import MADE, RUN, begin, make
from train.data.settings import DataSettings
from train.data.shards import PARTS
from train.data.source import PipelineStage
from train.data.work import sources_of
from train.gpus import GpuKind
from train.run_folder import forgotten
from train.settings import read_config
from train.shard_lists import shards_in
from train.triplets import Triplets, encoded

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "train" / "configs"
MINIATURE: dict[str, Any] = {
    "image_format": "png",
    "rule": {"prompts": 8, "candidates": 4, "hardest": 0.0, "easiest": 1.0},
    "reward": {"prompts": 3, "candidates": 4, "scorers": ["exact", "noisy"], "margin": 0.1},
    "length": {"prompts": 3, "candidates": 3, "scorers": ["exact"], "margin": 0.1},
    "editing": {"pairs": 12, "sets": ["shapes"]},
    "filter": {"near_bits": None},
    "engine": {"shard_items": 6, "slice_items": 2},
}
DICE: dict[str, Any] = {
    "image_format": "png",
    "painter": {"model": "synthetic"},
    "rule": {"prompts": 40, "candidates": 3, "judge": "synthetic"},
    "filter": {"scorers": ["synthetic"]},
    "engine": {"shard_items": 10, "slice_items": 2},
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # slow, and guards a power cut only


def chosen(folder: Path, values: dict[str, Any], **changes: Any) -> DataSettings:
    return DataSettings.model_validate({**values, "out": folder, **changes})


def run(settings: DataSettings, running: Any = run_here) -> dict[str, bytes]:
    """Runs it here; all files by name."""
    (settings.out / PARTS).mkdir(parents=True, exist_ok=True)
    sources = sources_of(settings)
    begin(settings, sources)
    make(sources, settings, lambda: nullcontext(Runner(running)))
    return {file.name: file.read_bytes() for file in settings.out.iterdir() if file.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("miniature")
    run(chosen(folder, MINIATURE))
    return folder


def test_the_miniature_makes_right_triplets_of_every_source(made: Path) -> None:
    triplets = list(Triplets(shards_in(made)))
    assert {triplet.subset for triplet in triplets} == {"rule", "general", "length", "editing"}
    verifier = ExactVerifier()
    for triplet in triplets:
        good, bad = verifier.verify(triplet.prompt, [triplet.good, triplet.bad])
        assert good.rank > bad.rank
        assert triplet.reflection
        if triplet.subset == "rule":
            assert good.passed
            assert tuple(triplet.metadata["bad"]["unmet"]) == bad.unmet


def test_the_manifest_of_a_run_adds_up(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_bytes())
    assert manifest["sources"]["rule"]["pictures"] == 8 * 4
    assert manifest["sources"]["length"]["pictures"] == 3 * 2 * 3
    assert manifest["triplets"] == len(Triplets(shards_in(made)))
    for name in ("rule", "reward", "length", "editing"):
        counts = manifest["sources"][name]
        early = {"prompt kept for testing", "prompt repeated"}
        late = sum(n for reason, n in counts["rejects"].items() if reason not in early)
        assert counts["triplets"] + late >= counts["items"]


def test_datasets_loads_the_folder_as_its_card_says(made: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    rows: Any = load_dataset(str(made), split="train", cache_dir=str(tmp_path))
    triplets = {triplet.key: triplet for triplet in Triplets(shards_in(made))}
    assert {row["__key__"] for row in rows} == set(triplets)
    for row in rows:
        meant = triplets[row["__key__"]]
        assert row["good_image.png"].tobytes() == meant.good.tobytes()
        assert row["bad_image.png"].size == meant.bad.size
        assert (row["prompt.txt"], row["subset.txt"]) == (meant.prompt, meant.subset)
        assert row["told.json"].keys() == meant.metadata.keys()
        assert row["told.json"]["source"] == meant.metadata["source"]


def test_the_same_settings_make_the_same_bytes(tmp_path: Path) -> None:
    one, two = (run(chosen(tmp_path / name, DICE)) for name in "ab")
    assert one == two
    other = run(chosen(tmp_path / "c", {**DICE, "seed": 1}))
    assert other["genref_000000.tar"] != one["genref_000000.tar"]


def test_the_slices_of_a_shard_may_be_cut_otherwise(tmp_path: Path) -> None:
    one = run(chosen(tmp_path / "a", DICE))
    two = run(chosen(tmp_path / "b", {**DICE, "engine": {"shard_items": 10, "slice_items": 5}}))
    shards = [name for name in one if name.endswith(".tar")]
    assert len(shards) == 4
    assert all(one[name] == two[name] for name in shards)


class Killed(BaseException):
    """As a kill would, it runs no code of ours."""


def test_a_run_that_broke_off_resumes_with_what_is_missing(tmp_path: Path) -> None:
    whole = run(chosen(tmp_path / "whole", DICE))
    settings = chosen(tmp_path / "broken", DICE)
    asked: list[Slice] = []

    def breaking(stages: Sequence[PipelineStage], slices: Sequence[Slice]) -> Iterator[Slice]:
        # Out of order, as on many machines, and stopped in the second shard.
        mixed = [*slices[:5], *slices[7:9], slices[15]]
        yield from run_here(stages, mixed)
        raise Killed

    def rest(stages: Sequence[PipelineStage], slices: Sequence[Slice]) -> Iterator[Slice]:
        asked.extend(slices)
        return run_here(stages, slices)

    with pytest.raises(Killed):
        run(settings, breaking)
    assert (settings.out / "genref_000000.json").exists()
    assert not (settings.out / "genref_000001.json").exists()
    assert run(settings, rest) == whole
    done = {(0, i) for i in range(5)} | {(1, 2), (1, 3), (3, 0)}
    assert {(w.shard, w.position) for w in asked} == {
        (shard, place) for shard in range(4) for place in range(5)
    } - done
    asked.clear()
    assert run(settings, rest) == whole
    assert not asked


def test_what_is_in_an_earlier_shard_is_left_out_of_a_later_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in (0, 1, 2, 0, 3, 1):  # so that shards of two rows repeat each other's
        for side in ("source", "edited"):
            file = tmp_path / f"{number}-{side}.png"
            if not file.exists():
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(file)
        row = {side: f"{number}-{side}.png" for side in ("source", "edited")}
        rows.append({**row, "instruction": "add a cat", "caption": f"prompt {number}"})
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = {
        "image_format": "png",
        "painter": {"model": "synthetic"},
        "editing": {"pairs": 9, "sets": [f"jsonl:{tmp_path}/set.jsonl"]},
        "filter": {"scorers": []},
        "engine": {"shard_items": 2, "slice_items": 1},
    }
    settings = chosen(tmp_path / "out", values)
    found = run(settings)
    manifest = json.loads(found["manifest.json"])
    assert manifest["rejects"] == {"repeated in another shard": 2}
    assert [shard["triplets"] for shard in manifest["shards"]] == [2, 1, 1]
    prompts = {t.prompt for t in Triplets(shards_in(tmp_path / "out"))}
    assert prompts == {f"prompt {number}" for number in range(4)}
    assert run(settings) == found
    (tmp_path / "out" / "genref_000001.tar").unlink()  # its repeat comes and goes again
    assert run(settings) == found


def test_a_shard_that_was_damaged_afterwards_is_made_again(tmp_path: Path) -> None:
    settings = chosen(tmp_path, DICE)
    whole = run(settings)
    shard = tmp_path / "genref_000002.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    assert run(settings) == whole


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(chosen(tmp_path, DICE))
    with pytest.raises(InputError, match=r"was started with seed=0 \(now 1\)\. Give") as error:
        run(chosen(tmp_path, DICE, seed=1))
    assert "work" not in str(error.value)
    with pytest.raises(InputError, match=r"rule\.candidates=3 \(now 4\)"):
        run(chosen(tmp_path, {**DICE, "rule": {**DICE["rule"], "candidates": 4}}))
    moved = {**DICE["engine"], "paint": {"workers": 3}, "object_store_gb": 2}
    run(chosen(tmp_path, DICE, engine=moved, licences={"a": "b"}))
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "x.tar").write_bytes(b"")
    with pytest.raises(InputError, match="other programs"):
        run(chosen(tmp_path / "strange", DICE))


def test_a_start_that_was_refused_may_be_corrected(tmp_path: Path) -> None:
    wrong = chosen(tmp_path, {**DICE, "rule": {**DICE["rule"], "judge": "nobody"}})
    with pytest.raises(InputError, match="Unknown"), forgotten(tmp_path / RUN, MADE):
        run(wrong)
    whole = run(chosen(tmp_path, DICE))
    with pytest.raises(InputError, match="started with"), forgotten(tmp_path / RUN, MADE):
        run(wrong)
    assert run(chosen(tmp_path, DICE)) == whole  # shards were made, so the settings are kept


def test_difficulties_that_drop_every_prompt_are_refused() -> None:
    for limits in ({"hardest": 0.9, "easiest": 0.1}, {"candidates": 2, "hardest": 0.6}):
        rule = {**DICE["rule"], **limits}
        with pytest.raises(InputError, match="every prompt would be dropped"):
            sources_of(DataSettings.model_validate({**DICE, "rule": rule}))
    rule = {**DICE["rule"], "candidates": 2, "hardest": 0.5, "easiest": 0.5}
    assert sources_of(DataSettings.model_validate({**DICE, "rule": rule}))


def test_prompts_that_changed_in_their_file_are_another_run(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a cat\na dog\n")
    values = {**DICE, "rule": {"prompts": 0}}
    values["reward"] = {"prompts": 2, "file": str(file), "scorers": ["synthetic"]}
    run(chosen(tmp_path / "out", values))
    file.write_text("a cat\na cow\n")
    with pytest.raises(InputError, match=r"other prompts or files \(reward\)"):
        run(chosen(tmp_path / "out", values))


def test_no_source_is_refused() -> None:
    with pytest.raises(InputError, match="No source"):
        sources_of(DataSettings())


def test_an_estimate_is_the_arithmetic_of_the_settings() -> None:
    settings = DataSettings.model_validate(
        {
            "rule": {"prompts": 100, "candidates": 10, "pairs": 2},
            "reward": {"prompts": 50, "candidates": 6, "scorers": ["exact", "noisy"]},
            "length": {"prompts": 10, "candidates": 4},
            "editing": {"pairs": 1000, "sets": ["shapes", "jsonl:nowhere"], "caption": ""},
            "reflections": {"how": "vlm", "vlm": "endpoint:nowhere"},
            "filter": {"scorers": ["exact"]},
            "assumptions": {
                "pictures_per_gpu_second": 0.5,
                "judged_per_gpu_second": 2,
                "seconds_per_call": 3,
                "megabytes_per_picture": 0.25,
                "rule_yield": 0.5,
                "kept": 0.8,
            },
        }
    )
    loads = loads_of(settings)
    rule = loads["rule"]
    assert (rule.pictures, rule.judged) == (1000, 1000 + 2 * 100)
    assert (rule.calls, rule.triplets) == (100, 80)
    assert rule.painting == pytest.approx(1000 / 0.5 / 3600)
    assert rule.judging == pytest.approx(1200 / 2 / 3600)
    assert rule.asking == pytest.approx(100 * 3 / 3600)
    assert rule.gigabytes == pytest.approx(80 * 2 * 0.25 / 1000)
    assert (loads["reward"].pictures, loads["reward"].judged) == (300, 600 + 100)
    assert loads["length"].pictures == 80
    assert (loads["editing"].pictures, loads["editing"].calls) == (0, 2000)


def test_an_estimate_asks_each_model_in_its_own_pool() -> None:
    values = {"length": {"prompts": 3600, "file": "prompts.txt"}, "judges": {"vlm": "folder"}}
    engine = {"annotate": {"workers": 8}, "condense": {"workers": 2}, "paint": {"workers": 999}}
    assumed = {"seconds_per_call": 5, "judged_per_gpu_second": 1e6, "pictures_per_gpu_second": 1e3}
    values |= {"engine": engine, "assumptions": assumed}
    assert loads_of(DataSettings.model_validate(values))["length"].hours == 5 / 2
    values["length"]["file"] = "shapes"  # which has short prompts
    assert loads_of(DataSettings.model_validate(values))["length"].calls == 0


def test_what_an_estimate_lacks_is_said_and_nothing_is_not_estimated() -> None:
    for values, what in (
        ({"staged": {"prompts": 9}}, "Questions with answers are not counted"),
        ({"histories": {"runs": "runs/*"}}, "Search histories are not counted"),
        ({"editing": {"pairs": 9, "sets": ["drafts"]}}, "Drafts are not counted"),
    ):
        found = estimate(DataSettings.model_validate(values))
        assert what in found and ("work items" in found) == ("editing" in values)
    with pytest.raises(InputError, match="No source is used"):
        estimate(DataSettings())


def test_a_card_says_who_painted_only_where_somebody_did() -> None:
    model = {"model": r"C:\Users\me\flux"}
    read = DataSettings.model_validate({"histories": {"runs": "runs/*"}, "painter": model})
    assert not any("painted by" in line for line in _how(["histories"], read.model_dump()))
    rule = DataSettings.model_validate({"rule": {"prompts": 1}, "painter": model})
    assert "Pictures were painted by `flux`." in _how(["rule"], rule.model_dump())
    assert table(["said"], [["a | b\nc"]]).splitlines()[-1] == r"| a \| b c |"


def test_the_full_sized_configuration_makes_a_million_triplets_and_lets_no_gpu_wait() -> None:
    settings = DataSettings.model_validate(read_config(CONFIGS / "data-flux.yaml"))
    whole = sum(loads_of(settings).values(), Load())
    assert whole.triplets > 1_000_000
    assert whole.idle is not None and whole.idle < 0.1
    # With GPUs of their own, judges wait for painters: so does each in its turn.
    pools = {"paint": (44, 1), "judge": (12, 1), "filter": (8, 1)}
    alone = {name: {"workers": count, "gpus": gpus} for name, (count, gpus) in pools.items()}
    values = settings.model_dump()
    values["engine"] |= alone
    waiting = sum(loads_of(DataSettings.model_validate(values)).values(), Load())
    assert waiting.reserved == pytest.approx(64 * waiting.hours)
    assert waiting.idle is not None and waiting.idle > 0.25
    said = "\n".join(assumptions_of(settings))
    assert "64 GPUs, shared" in said and "repeats one slice: 40 pictures, 3 min" in said


def test_the_full_sized_configuration_has_words_for_all_its_prompts() -> None:
    rule = DataSettings.model_validate(read_config(CONFIGS / "data-flux.yaml")).rule
    things, colours = len(rule.objects), len(rule.colours)
    pairs = things * (things - 1) / 2 * colours * (colours - 1)
    assert len(set(rule.objects)) == things == 80
    # Of pairs alone, with and without a position, there are more than enough to draw from.
    assert pairs * (1 + len(rule.relations)) > 3 * rule.prompts


def test_the_full_sized_configuration_runs_dry_with_sets_of_its_form(
    tmp_path: Path, monkeypatch
) -> None:
    """Every file that it names is put there in small; no model is, but one folder."""
    monkeypatch.chdir(tmp_path)
    settings = DataSettings.model_validate(read_config(CONFIGS / "data-flux.yaml"))
    for name, line in {
        "geneval/evaluation_metadata.jsonl": {"prompt": "a photo of a cup"},
        "prompts/general.jsonl": {"prompt": "a harbour"},
        "prompts/detailed.jsonl": {"prompt": "a pier", "detailed": "a pier at dusk, long"},
    }.items():
        (tmp_path / "sets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sets" / name).write_text(json.dumps(line))
    pictures = [encoded(Image.new("RGB", (9, 9), colour), "png") for colour in ("red", "blue")]
    images = ({"bytes": data} for data in pictures)
    row: dict[str, Any] = dict(zip(("src_img", "edited_img"), images, strict=True))
    row["edited_prompt_list"] = ["paint it"]
    parquet_file = tmp_path / "sets" / "OmniEdit-Filtered-1.2M" / "data" / "0.parquet"
    parquet_file.parent.mkdir(parents=True)
    template = tmp_path / "models" / "Image-Verifier" / "template.txt"
    template.parent.mkdir(parents=True)
    template.touch()
    parquet.write_table(pyarrow.Table.from_pylist([row] * 9), parquet_file)
    with pytest.raises(InputError, match="0 more files and 6 more models") as missing:
        dry_run(settings)
    assert "4 x prompt empty" in str(missing.value)  # the edits, which nobody described


def test_painting_takes_what_fluxs_operations_take_on_the_gpu_that_is_named() -> None:
    rule = {"rule": {"prompts": 3600, "candidates": 10}}
    hours = {
        name: loads_of(DataSettings.model_validate({**rule, "gpu": {"name": name}}))["rule"]
        for name in ("A100", "H100")
    }
    # 30 steps of 74.4e12 operations at 40 % of the peak
    assert hours["A100"].painting == pytest.approx(10 * 30 * 74.4 / (0.4 * 312), rel=1e-3)
    assert hours["H100"].painting == pytest.approx(10 * 30 * 74.4 / (0.4 * 989), rel=1e-3)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "train.data", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_an_estimate_compares_the_weights_with_the_gpu_and_times_no_miniature() -> None:
    flux = DataSettings.model_validate(read_config(CONFIGS / "data-flux.yaml"))
    assert "paint 34 GB, judge of unknown size" in estimate(flux)
    small = flux.model_copy(update={"gpu": GpuKind(name="RTX-4090")})
    with pytest.raises(InputError, match=r"they need 34 GB\. .* or gpu\.name=A100-40GB"):
        estimate(small)
    streamed = flux.painter.model_copy(update={"plan": "streamed"})
    assert "paint of unknown size" in estimate(small.model_copy(update={"painter": streamed}))
    tiny = estimate(DataSettings.model_validate(read_config(CONFIGS / "data-tiny.yaml")))
    assert "GB of shards         0.0129" in tiny and "Times are not estimated" in tiny
    assert "GPU h" not in tiny and "H100" not in tiny and "idle" not in tiny


def test_the_table_of_an_estimate_has_whole_numbers_on_a_narrow_terminal(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = estimate(DataSettings.model_validate(read_config(CONFIGS / "data-flux.yaml")))
    assert "11,692,000" in text and "…" not in text


def test_an_estimate_needs_no_model_and_says_what_it_assumes() -> None:
    done = command("--config", str(CONFIGS / "data-flux.yaml"), "--estimate")
    assert done.returncode == 0, done.stderr
    for part in ("GPU h painting", "triplets expected", "Assumed ("):
        assert part in done.stdout


def test_wrong_settings_and_wrong_inputs_end_in_a_sentence(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({"rule": {"candidate": 3}}))
    done = command("--config", str(wrong))
    assert done.returncode == 2
    assert "no setting rule.candidate. The nearest is rule.candidates" in done.stderr
    done = command("reward.prompts=3", "reward.file=/nowhere", f"out={tmp_path / 'out'}")
    assert done.returncode == 2
    assert "/nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_full_sized_configuration_runs_dry_where_none_of_its_files_is() -> None:
    done = command("--config", str(CONFIGS / "data-flux.yaml"), "--dry-run")
    assert done.returncode == 2
    for name in ("sets/prompts/general.jsonl", "models/FLUX.1-dev", "models/HPSv2-hf"):
        assert f"{name} is missing.\n" in done.stderr
    assert "OmniEdit" in done.stderr and "needs 5 more files and 7 more models" in done.stderr


def test_a_dry_run_leaves_nothing_and_needs_no_ray(tmp_path: Path) -> None:
    config = str(CONFIGS / "data-miniature.yaml")
    done = command("--config", config, "--dry-run", f"out={tmp_path / 'none'}")
    assert done.returncode == 0, done.stderr
    assert "nothing was kept" in done.stdout
    assert not (tmp_path / "none").exists()


def test_the_weights_of_every_model_are_part_of_a_runs_identity(tmp_path: Path) -> None:
    def models(**values: Any) -> dict[str, str]:
        return work.models_of(DataSettings.model_validate({**MINIATURE, **values}))

    (tmp_path / "config.json").write_text("1")
    clip = {"scorers": [f"clip-score:{tmp_path}"]}
    before = models(reward={"prompts": 1, **clip})
    assert set(before) == {"painter", "reward"}
    (tmp_path / "config.json").write_text("2")
    after = models(reward={"prompts": 1, **clip})
    assert (after["painter"], after["reward"] == before["reward"]) == (before["painter"], False)
    assert "painter" not in models(rule={}, reward={}, length={})
