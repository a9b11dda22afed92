"""Prompts, pairs and sets of edits: `pytest tests/train/test_data_sources.py`."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from core.tiny_detectors import save_clip, save_mask2former
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from reflectionflow_core.archive import Run, open_archive
from reflectionflow_core.detection.rules import Need, Task
from reflectionflow_core.feedback import Feedback
from reflectionflow_core.geneval.tasks import read_task, task_record
from reflectionflow_core.miniature.prompts import is_held_out, parse
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.record import Candidate, History, InputError, Verdict
from reflectionflow_core.settings import SearchSettings
from train.data.editing import OpenStage, editing_source
from train.data.edits import ParquetEdits, open_set
from train.data.engine import blocks_of
from train.data.filtering import FilterStage
from train.data.histories import HistoryStage, histories_source, preferences
from train.data.length import both_of, length_source
from train.data.painting import PaintStage
from train.data.prompts import Avoided, meaning, usable, words
from train.data.ranking import RankStage, mean_ranks
from train.data.records import Item, PaintedPicture, Pair, Slice
from train.data.reward import reward_source
from train.data.rule import build_judge, composed, pairs_of, rule_source, sentence
from train.data.settings import (
    DataSettings,
    Editing,
    Engine,
    Families,
    Histories,
    Length,
    PainterSettings,
    Ranked,
    Rule,
)
from train.data.shards import StoreStage, assemble
from train.data.synthetic import SyntheticGenerator, SyntheticVerifier
from train.data.work import sharded
from train.miniature import edits as edits_module
from train.triplets import SampleError, encoded, sibling_group

OBJECTS = ["cup", "dog", "wine glass", "knife", "airplane", "bench"]
COLOURS = ["red", "blue", "green"]
NOTHING = Avoided([], held_out=False)
GENEVAL = {
    "tag": "position",
    "include": [
        {"class": "cup", "count": 1},
        {"class": "dog", "count": 1, "position": ["left of", 0]},
    ],
    "prompt": "a photo of a dog left of a cup",
}


def flat(colour: str, size: tuple[int, int] = (8, 8)) -> bytes:
    return encoded(Image.new("RGB", size, colour), "png")


def benchmark(folder: Path, *records: dict) -> str:
    file = folder / "benchmark.jsonl"
    file.write_text("\n".join(map(json.dumps, records)))
    return str(file)


def test_rule_prompts_are_new_right_and_the_same_again() -> None:
    rule = Rule(prompts=150, objects=OBJECTS, colours=COLOURS)
    items, _ = composed(rule, NOTHING, seed=3)
    assert len({item.prompt for item in items}) == 150
    assert [item.number for item in items] == list(range(150))
    assert items == composed(rule, NOTHING, seed=3)[0]
    assert items != composed(rule, NOTHING, seed=4)[0]
    twice = rule.model_copy(update={"objects": OBJECTS * 2, "colours": COLOURS * 2})
    assert items == composed(twice, NOTHING, seed=3)[0]
    tasks = [read_task(item.metadata["task"]) for item in items]
    assert [sentence(task) for task in tasks] == [item.prompt for item in items]
    assert {task.tag for task in tasks} == set(Families.model_fields)


def test_a_task_reads_as_geneval_writes_it() -> None:
    two = Task("counting", (Need("wine glass", 2),), (Need("wine glass", 3),))
    assert sentence(two) == "a photo of two wine glasses"
    beside = Task("position", (Need("cup"), Need("airplane", relation="above", target=0)))
    assert sentence(beside) == "a photo of an airplane above a cup"
    colours = Task("color_attr", (Need("cup", colour="red"), Need("dog", colour="blue")))
    assert sentence(colours) == "a photo of a red cup and a blue dog"


def test_the_miniatures_own_vocabulary_makes_prompts_that_it_understands() -> None:
    items, _ = composed(Rule(prompts=60), Avoided([], held_out=True), seed=0)
    for item in items:
        parse(item.prompt)
        assert not is_held_out(parse(item.prompt))


def test_a_vocabulary_that_is_used_up_is_refused() -> None:
    with pytest.raises(InputError, match="Give more objects"):
        composed(Rule(prompts=500, objects=["cup", "dog"], colours=COLOURS), NOTHING, 0)


def test_a_benchmarks_prompt_is_kept_out_in_any_wording(tmp_path: Path) -> None:
    avoided = Avoided([benchmark(tmp_path, GENEVAL)], held_out=False)
    assert "A photo of a dog, left of the cup!" in avoided
    turned = Task("position", (Need("dog"), Need("cup", relation="right of", target=0)))
    assert sentence(turned) not in avoided
    assert avoided.has(turned)
    assert not avoided.has(replace(turned, include=(Need("cup"), Need("dog"))))
    only = Families(**{name: float(name == "position") for name in Families.model_fields})
    rule = Rule(prompts=4, objects=["cup", "dog"], colours=COLOURS, families=only)
    with pytest.raises(InputError):
        composed(rule, avoided, 0)  # each of four relations is another one from the other side
    items, rejects = composed(rule.model_copy(update={"prompts": 3}), avoided, 0)
    assert "a photo of a dog left of a cup" not in {item.prompt for item in items}
    assert set(rejects) <= {"prompt kept for testing"}


names, paints = st.sampled_from(OBJECTS), st.sampled_from([None, *COLOURS])
needs = st.builds(Need, names, st.integers(1, 4), paints)


@given(needs, needs)
def test_the_order_of_two_things_makes_no_other_meaning(first: Need, second: Need) -> None:
    assert meaning(Task("x", (first, second))) == meaning(Task("y", (second, first)))


@given(st.lists(st.sampled_from(["a", "The", "photo", "of", "dog", "RED", "cup"])))
def test_case_signs_and_articles_make_no_difference(said: list[str]) -> None:
    plain = [word.lower() for word in said if word not in ("a", "The")]
    assert words(" -- ".join(said).upper()) == words(" ".join(plain))


def test_prompts_fall_away_for_a_reason_and_the_first_good_ones_are_taken() -> None:
    records = [
        {"prompt": text}
        for text in ("a cat", "", "The cat.", "x" * 30_000, "y" * 10_000, "a dog", "a cow")
    ]
    kept, rejects = usable(records, NOTHING, 3)
    assert [record["prompt"][:5] for record in kept] == ["a cat", "yyyyy", "a dog"]
    assert rejects == {"prompt empty": 1, "prompt repeated": 1, "prompt too long": 1}


@pytest.mark.parametrize("line", ["{", '{"text": "a"}', '{"prompt": 3}', '{"prompt": ""}'])
def test_a_line_that_is_no_prompt_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(f"a cat\n{line}\n")
    settings = DataSettings(reward=Ranked(prompts=5, file=str(file)))
    with pytest.raises(InputError, match="Line 2"):
        reward_source(settings, NOTHING)


def test_files_that_are_missing_or_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("none", "binary"):
        settings = DataSettings(reward=Ranked(prompts=5, file=str(tmp_path / name)))
        with pytest.raises(InputError, match=name):
            reward_source(settings, NOTHING)


def judged(*scores: float) -> list[PaintedPicture]:
    """Pictures with these marks, of which those above 0.5 passed."""
    return [
        PaintedPicture(flat("red"), "a cup", seed, {"rule": score}, score > 0.5)
        for seed, score in enumerate(scores)
    ]


CUP = Item(7, "a cup", {"task": {"tag": "single_object", "include": []}})


def test_a_right_picture_is_paired_with_the_worst_of_the_wrong_ones() -> None:
    pairs = pairs_of(CUP, judged(0.4, 1.0, 0.1, 0.3, 1.0), Rule(pairs=2), 0)
    assert not isinstance(pairs, str)
    assert [pair.bad.marks["rule"] for pair in pairs] == [0.1, 0.3]
    assert {pair.good.seed for pair in pairs} == {1, 4}
    assert [pair.key for pair in pairs] == ["rule-00000007-0", "rule-00000007-1"]
    assert pairs[0].metadata["difficulty"] == "medium"


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([0, 0, 0], "prompt too hard"),
        ([1, 1, 1], "prompt too easy"),
        ([1, 0, 0, 0, 0], "prompt too hard"),
        ([1, 1, 1, 1, 0], "prompt too easy"),
    ],
)
def test_prompts_at_both_ends_of_difficulty_are_dropped(scores: list[float], reason: str) -> None:
    assert pairs_of(CUP, judged(*scores), Rule(hardest=0.25, easiest=0.75), 0) == reason


def test_real_pictures_are_judged_by_a_detector_and_a_reader_of_colours(tmp_path: Path) -> None:
    for name in ("detector", "clip"):
        (tmp_path / name).mkdir()
    judge = f"detector:{save_mask2former(tmp_path / 'detector')}"
    rule = Rule(judge=judge, colour_judge=str(save_clip(tmp_path / "clip")), confidence=0.0)
    task = Task("colors", (Need("bench", colour="red"),))
    item = Item(0, sentence(task), {"task": task_record(task)})
    images = [PaintedPicture(flat(colour, (40, 30))).image for colour in ("red", "blue")]
    sure = build_judge(rule, "cpu")(item, images)  # random weights are sure of nothing
    assert all(v.passed or v.unmet == ("bench is not red",) for v in sure)
    strict = build_judge(rule.model_copy(update={"confidence": 1.0}), "cpu")(item, images)
    assert [v.unmet for v in strict] == [("missing a red bench",)] * 2
    with pytest.raises(InputError, match=r"Unknown rule\.judge: 'dice'"):
        build_judge(Rule(judge="dice"), None)


def test_mean_ranks_go_from_the_worst_to_the_best_and_equals_share() -> None:
    def marked(a: float, b: float) -> PaintedPicture:
        return PaintedPicture(b"", marks={"a": a, "b": b})

    assert mean_ranks([marked(1, 100), marked(2, 900), marked(3, 901)]) == [0, 0.5, 1]
    assert mean_ranks([marked(1, 9), marked(2, 5)]) == [0.5, 0.5]
    assert mean_ranks([marked(1, 1)]) == [0.5]


marks = st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), min_size=2, max_size=12)


@given(marks, st.floats(0, 1), st.integers(1, 5), st.integers(1, 4))
def test_ranked_pairs_keep_the_margin_and_use_no_picture_twice(
    given_marks: list[tuple[float, int]], margin: float, top: int, most: int
) -> None:
    pictures = [
        PaintedPicture(b"", "p", i, {"a": a, "b": float(b)}) for i, (a, b) in enumerate(given_marks)
    ]
    settings = Ranked(margin=margin, top=top, pairs=most)
    pairs = RankStage({}, settings, "reward", 0)._pairs(Item(0, "p"), pictures)
    ranks = mean_ranks(pictures)
    seeds = [seed for pair in pairs for seed in (pair.good.seed, pair.bad.seed)]
    assert len(set(seeds)) == len(seeds) <= 2 * most
    for pair in pairs:
        assert pair.good.seed is not None and pair.bad.seed is not None
        high, low = ranks[pair.good.seed], ranks[pair.bad.seed]
        assert high > low and high - low >= margin


def test_in_a_long_short_pair_the_good_picture_was_painted_from_the_long_prompt() -> None:
    settings = DataSettings(
        length=Length(prompts=12, candidates=3, scorers=["synthetic"], margin=0)
    )
    source = length_source(settings, NOTHING)
    assert all(len(item.metadata["detailed"]) > 0 for item in source.items)
    painting = PaintStage(SyntheticGenerator(), lambda item: both_of(item, 3), 4, 0, "png")
    ranking = RankStage({"a": SyntheticVerifier()}, settings.length, "length", 0)
    done = ranking(painting(Slice(0, 0, tuple(source.items))))
    assert done.pairs
    for pair in done.pairs:
        assert pair.good.prompt == pair.metadata["detailed"] != pair.prompt == pair.bad.prompt


def test_pictures_depend_on_seed_prompt_and_place_alone() -> None:
    def paint(*prompts: str, batch: int = 4, seed: int = 0) -> list[list[bytes]]:
        painting = PaintStage(SyntheticGenerator(), lambda i: [i.prompt] * 3, batch, seed, "png")
        items = tuple(Item(n, prompt) for n, prompt in enumerate(prompts))
        return [[p.data for p in some] for some in painting(Slice(0, 0, items)).pictures]

    cat, dog = paint("cat", "dog")
    assert len(set(cat + dog)) == 6
    assert paint("dog", "cat", batch=2) == [dog, cat]
    assert paint("cat", seed=1) != [cat]


def test_shape_edits_lead_from_a_flawed_scene_to_a_better_one() -> None:
    edits = open_set("shapes", Editing(), seed=5)
    verifier = ExactVerifier()
    for index in range(8):
        edit = edits[index]
        before, after = verifier.verify(edit.caption, [edit.source, edit.edited])
        assert after.rank > before.rank
        assert edit.instruction
        assert not is_held_out(parse(edit.caption))
    assert edits[3].source.tobytes() == open_set("shapes", Editing(), 5)[3].source.tobytes()


def test_edits_of_one_family_ask_for_nothing_else() -> None:
    edits = open_set("shapes:colors", Editing(), seed=5)
    asked = [parse(edits[index].caption) for index in range(8)]
    assert {spec.family for spec in asked} == {"colors"}
    with pytest.raises(InputError, match="no family"):
        open_set("drafts:colours", Editing(), seed=5)


def test_drafts_are_what_the_painter_painted_wrong_and_the_same_again() -> None:
    painter = PainterSettings(steps=6)
    edits = open_set("drafts:color_attr", Editing(), 5, painter)
    verifier = ExactVerifier()
    for index in (0, 3, 11):
        edit = edits[index]
        before, after = verifier.verify(edit.caption, [edit.source, edit.edited])
        assert not before.passed
        assert after.rank > before.rank
        assert not is_held_out(parse(edit.caption))
    again = open_set("drafts:color_attr", Editing(), 5, painter)
    assert again[11].source.tobytes() == edits[11].source.tobytes()


def save_pictures(folder: Path) -> None:
    for colour in ("red", "blue"):
        (folder / f"{colour}.png").write_bytes(flat(colour))


ROW = {"source": "red.png", "edited": "blue.png", "instruction": "paint it blue", "caption": "b"}


def test_an_edit_is_read_from_json_lines(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    (tmp_path / "edits.jsonl").write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW)}\n")
    edits = open_set(f"jsonl:{tmp_path}/edits.jsonl", Editing(), 0)
    assert len(edits) == 2
    assert (edits[1].instruction, edits[1].caption) == ("paint it blue", "b")
    assert edits[1].source.getpixel((0, 0)) == (255, 0, 0)


def test_an_edit_is_read_from_parquet_as_the_hub_has_it(tmp_path: Path) -> None:
    fields = Editing(source="src_img", edited="edited_img", instruction="prompts", caption="")
    rows = [
        {
            "src_img": {"bytes": flat("red"), "path": None},
            "edited_img": {"bytes": flat("blue"), "path": None},
            "prompts": [f"edit {i}", "said otherwise"],
            "unused": i,
        }
        for i in range(7)
    ]
    for number, part in enumerate((rows[:4], rows[4:])):
        table = pyarrow.Table.from_pylist(part)
        (tmp_path / f"part{number}").mkdir()
        parquet.write_table(table, tmp_path / f"part{number}/a.parquet", row_group_size=3)
    edits = open_set(f"parquet:{tmp_path}/part*/*.parquet", fields, 0)
    assert [edits[i].instruction for i in range(len(edits))] == [f"edit {i}" for i in range(7)]
    assert edits[6].edited.getpixel((0, 0)) == (0, 0, 255)


def test_each_row_group_is_read_once_whichever_workers_open_its_rows(
    tmp_path: Path, monkeypatch
) -> None:
    row = {"source": flat("red"), "edited": flat("blue"), "instruction": "i", "caption": "c"}
    table = pyarrow.Table.from_pylist([row] * 7)
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    editing = Editing(pairs=9, sets=[f"parquet:{tmp_path}/a.parquet"])
    engine = Engine(shard_items=4, slice_items=2)
    settings = DataSettings(editing=editing, engine=engine, image_format="png")
    source = editing_source(settings, NOTHING)
    slices = list(chain(*sharded(source, 0, settings).values()))
    assert [[i.number for i in work.items] for work in slices] == [[0, 1], [2], [3], [4, 5], [6]]
    blocks = list(blocks_of(slices))
    assert list(map(len, blocks)) == [2, 2, 1]
    reads: list[int] = []
    plain = ParquetEdits._rows

    def counted(self: ParquetEdits, file: Path, group: int) -> list[dict[str, Any]]:
        reads.append(group)
        return plain(self, file, group)

    monkeypatch.setattr(ParquetEdits, "_rows", counted)
    for block in blocks:
        stage = source.stages[0].build()  # a worker of its own
        assert all(len(stage(work).pairs) == len(work.items) for work in block)
    assert reads == [0, 1, 2]
    assert [len(b) for b in blocks_of([Slice(0, place, ()) for place in range(3)])] == [1, 1, 1]


def opened(sets: list[str], pairs: int = 9, **fields: Any) -> Slice:
    settings = DataSettings(editing=Editing(pairs=pairs, sets=sets, **fields), image_format="png")
    (open_stage, *_) = editing_source(settings, NOTHING).stages
    items = tuple(editing_source(settings, NOTHING).items)
    return open_stage.build()(Slice(0, 0, items))


def test_rows_that_cannot_be_used_fall_away_for_a_reason_each(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    (tmp_path / "torn.png").write_bytes(flat("red", (64, 64))[:60])
    lines = [
        json.dumps(ROW),
        "{",
        json.dumps({**ROW, "source": None}),
        json.dumps({**ROW, "source": "none.png"}),
        json.dumps({**ROW, "source": "torn.png"}),
        json.dumps({**ROW, "source": "edits.jsonl"}),
        json.dumps({**ROW, "caption": "long " * 2_000}),
    ]
    (tmp_path / "edits.jsonl").write_text("\n".join(lines))
    done = opened([f"jsonl:{tmp_path}/edits.jsonl"])
    assert [len(pair.prompt) for pair in done.pairs] == [1, 9_999]
    assert done.rejects == {
        "row unreadable": 1,
        "field source missing": 1,
        "picture missing": 1,
        "picture unreadable": 2,
    }


def test_several_sets_are_taken_one_after_the_other(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    (tmp_path / "edits.jsonl").write_text(json.dumps(ROW))
    done = opened(["shapes", f"jsonl:{tmp_path}/edits.jsonl"], pairs=2)
    assert [pair.metadata["set"] for pair in done.pairs] == ["shapes", "shapes", "jsonl"]


def test_shards_are_a_set_too_and_what_is_torn_off_is_counted(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    pairs = [
        Pair(
            f"k{i}",
            f"prompt {i}",
            PaintedPicture(flat("red")),
            PaintedPicture(flat("blue")),
            f"edit {i}",
        )
        for i in range(4)
    ]
    StoreStage(tmp_path, "editing", "editing", "png")(Slice(0, 0, (), pairs=tuple(pairs)))
    assemble(tmp_path, 0, 1, None)
    shard = tmp_path / "genref_000000.tar"
    shard.write_bytes(shard.read_bytes()[:14_000])
    settings = DataSettings(editing=Editing(pairs=9, sets=[f"shards:{tmp_path}"]))
    source = editing_source(settings, NOTHING)
    assert source.rejects == {"shard truncated": 1}
    done = source.stages[0].build()(Slice(0, 0, tuple(source.items)))
    assert 0 < len(done.pairs) < 4
    assert (done.pairs[0].prompt, done.pairs[0].reflection) == ("prompt 0", "edit 0")


def test_sets_that_are_none_are_refused(tmp_path: Path) -> None:
    for spec in ("zip:x", f"jsonl:{tmp_path}/no", f"parquet:{tmp_path}/*.p", "shards:/nowhere"):
        with pytest.raises(InputError):
            open_set(spec, Editing(), 0)
    (tmp_path / "wrong.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a Parquet file"):
        open_set(f"parquet:{tmp_path}/wrong.parquet", Editing(), 0)


def test_siblings_are_one_flawed_picture_with_words_and_targets_of_their_own() -> None:
    verifier = ExactVerifier()
    for spec in ("shapes:color_attr", "drafts:color_attr"):
        edits = open_set(spec, Editing(siblings=3), 5, PainterSettings(steps=6))
        for first in (0, 6):
            several = [edits[first + number] for number in range(3)]
            assert len({edit.source.tobytes() for edit in several}) == 1
            assert len({edit.instruction for edit in several}) == 3
            assert len({edit.edited.tobytes() for edit in several}) == 3
            for edit in several:
                before, after = verifier.verify(edit.caption, [edit.source, edit.edited])
                assert after.rank > before.rank and not is_held_out(parse(edit.caption))
        assert edits[0].source.tobytes() != edits[6].source.tobytes()
        prompts = [{edits[3 * group + number].caption for number in range(3)} for group in range(6)]
        assert {2} <= {len(asked) for asked in prompts} <= {2, 3}  # some only words tell apart
        again = open_set(spec, Editing(siblings=3), 5, PainterSettings(steps=6))
        assert again[7].edited.tobytes() == edits[7].edited.tobytes()


def test_more_siblings_than_pictures_have_end_in_a_sentence(monkeypatch) -> None:
    monkeypatch.setattr(edits_module, "_SCENES", 32)
    for spec in ("shapes:single_object", "drafts:single_object"):
        with pytest.raises(InputError, match="siblings=60 is too many: none of 32 pictures"):
            open_set(spec, Editing(siblings=60), 5, PainterSettings(steps=6))[0]


def test_rows_of_the_same_picture_are_siblings_in_whatever_slice_they_are_read(
    tmp_path: Path,
) -> None:
    save_pictures(tmp_path)
    rows = [
        {"source": "red.png", "edited": "blue.png", "instruction": "make it blue", "caption": "a"},
        {"source": "blue.png", "edited": "red.png", "instruction": "make it red", "caption": "b"},
        {"source": "red.png", "edited": "blue.png", "instruction": "to blue", "caption": "c"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    editing = Editing(pairs=3, sets=[f"jsonl:{tmp_path / 'rows.jsonl'}"])
    source = editing_source(DataSettings(editing=editing), NOTHING)
    stage = source.stages[0].build()
    slices = [stage(Slice(0, number, (item,))) for number, item in enumerate(source.items)]
    keys = [work.pairs[0].key for work in slices]
    groups = [sibling_group(key) for key in keys]
    assert groups[0] == groups[2] != groups[1] and len(set(keys)) == 3


def test_an_edit_whose_caption_is_kept_for_testing_falls_away(tmp_path: Path) -> None:
    avoided = Avoided([benchmark(tmp_path, GENEVAL)], held_out=False)

    class One:
        def __init__(self) -> None:
            self.skipped: Counter[str] = Counter()

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int):
            return replace(open_set("shapes", Editing(), 0)[0], caption=GENEVAL["prompt"])

    item = Item(0, "", {"set": "one", "row": 0})
    done = OpenStage({"one": One()}, avoided, "png")(Slice(0, 0, (item,)))
    assert (done.pairs, done.rejects) == ((), {"prompt kept for testing": 1})


def saved_run(folder: Path, prompt: str, *said: Feedback) -> None:
    """A run whose correction gained, and another that lost; and what a person said of them."""
    noise = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), np.uint8)
    images = [Image.fromarray(pixels) for pixels in noise]
    draft = Candidate(images[0], prompt, 1, Verdict(0.2, unmet=("missing a cup",)))
    better = Candidate(images[1], prompt, 2, Verdict(0.9), "add a cup", draft)
    worse = Candidate(images[2], prompt, 3, Verdict(0.1), "move it", better)
    history = History(((draft,), (better,), (worse,)), feedback=said)
    with open_archive(folder) as archive:
        archive.begin(Run(prompt, SearchSettings(width=1)))
        archive.append(history)


def test_corrections_that_gained_become_pairs(tmp_path: Path) -> None:
    saved_run(tmp_path / "runs" / "one", "a cup")
    saved_run(tmp_path / "runs" / "two", "a photo of a dog left of a cup")
    saved_run(tmp_path / "runs" / "torn", "a cup")
    (tmp_path / "runs" / "torn" / "run.json").write_text("{")
    saved_run(tmp_path / "runs" / "no picture", "a cup")
    (tmp_path / "runs" / "no picture" / "images" / "round-000-000.png").unlink()
    settings = DataSettings(
        histories=Histories(runs=f"{tmp_path}/runs/*", consent=True), image_format="png"
    )
    avoided = Avoided([benchmark(tmp_path, GENEVAL)], held_out=False)
    source = histories_source(settings, avoided)
    assert source.rejects == {"run unreadable": 1, "prompt kept for testing": 1}
    done = source.stages[0].build()(Slice(0, 0, tuple(source.items)))
    (pair,) = done.pairs
    assert (pair.prompt, pair.reflection) == ("a cup", "add a cup")
    assert (pair.good.seed, pair.bad.seed) == (2, 1)
    assert done.rejects == {"correction gained nothing": 1, "run unreadable": 1}
    assert not HistoryStage(0.8, "png")(Slice(0, 0, tuple(source.items))).pairs


def test_what_a_person_preferred_becomes_pairs_that_no_judge_overrules(tmp_path: Path) -> None:
    saved_run(tmp_path / "runs" / "one", "a cup", Feedback(3, picked=2))
    settings = DataSettings(
        histories=Histories(runs=f"{tmp_path}/runs/*", consent=True), image_format="png"
    )
    (item,) = histories_source(settings, NOTHING).items
    done = HistoryStage(0.0, "png")(Slice(0, 0, (item,)))
    chosen, gained = done.pairs
    # To the judge this correction was for the worse.
    assert (chosen.good.seed, chosen.bad.seed, chosen.reflection) == (3, 2, "move it")
    assert (gained.good.seed, gained.bad.seed) == (2, 1) and not done.rejects
    refuses = FilterStage({"any": SyntheticVerifier()}, margin=2.0)
    kept = refuses(pickle.loads(pickle.dumps(done)))
    assert kept.pairs == (chosen,) and kept.rejects == {"verifier disagrees": 1}


def test_a_winner_is_better_than_its_round_and_all_others_than_what_was_vetoed() -> None:
    picture = Image.new("RGB", (8, 8))
    drafts = tuple(Candidate(picture, "p", seed, Verdict(0.5)) for seed in range(3))
    child = Candidate(picture, "p", 3, Verdict(0.5), "r", drafts[1])
    said = (Feedback(3, vetoed=(0,)), Feedback(4, picked=3))
    history = History((drafts, (child,)), feedback=said)
    assert preferences(history) == [(1, 0), (2, 0), (3, 1)]
    both = Feedback(3, picked=2, vetoed=(0,))
    assert preferences(History((drafts,), feedback=(both,))) == [(2, 0), (2, 1), (1, 0)]


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ((Feedback(3, picked=0), Feedback(3, vetoed=(0,))), [(1, 0), (2, 0)]),
        ((Feedback(3, vetoed=(0,)), Feedback(3, picked=0)), [(0, 1), (0, 2)]),
        ((Feedback(3, vetoed=(0,)), Feedback(3, vetoed=(1,))), [(2, 0), (2, 1)]),
        # Back to the parent of the first winner.
        ((Feedback(4, picked=3), Feedback(4, picked=1)), [(1, 0), (1, 2)]),
    ],
)
def test_of_two_words_about_a_picture_the_later_one_counts(said, left) -> None:
    picture = Image.new("RGB", (8, 8))
    drafts = tuple(Candidate(picture, "p", seed, Verdict(0.5)) for seed in range(3))
    child = Candidate(picture, "p", 3, Verdict(0.5), "r", drafts[1])
    assert preferences(History((drafts, (child,)), feedback=said)) == left


def test_runs_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No runs"):
        found = Histories(runs=f"{tmp_path}/*", consent=True)
        histories_source(DataSettings(histories=found), NOTHING)
    with pytest.raises(InputError, match=r"histories.consent=true if these people"):
        histories_source(DataSettings(histories=Histories(runs=f"{tmp_path}/*")), NOTHING)


def test_a_picture_that_is_cut_off_is_no_picture() -> None:
    with pytest.raises(SampleError):
        _ = PaintedPicture(flat("red", (64, 64))[:-30]).image


def test_the_rule_source_names_its_stages_by_what_they_do() -> None:
    source = rule_source(DataSettings(rule=Rule(prompts=5)), Avoided([], True))
    assert [stage.name for stage in source.stages] == ["paint", "judge"]
