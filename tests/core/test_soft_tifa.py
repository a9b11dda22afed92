"""GenEval 2's protocol: data as they may come, probabilities of right answers, and their means."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core.tiny_vlm import picture, save_vlm
from PIL import Image
from scripted_vlm import ScriptedVlm

from reflectionflow_core.cli import geneval2, main
from reflectionflow_core.geneval.compositions import Atom, read_compositions
from reflectionflow_core.geneval.soft_tifa import (
    AM,
    ASK,
    GM,
    means_by_prompt,
    probabilities_of,
    tables_of,
)
from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.interface import ExactVlm, Failure, Question
from reflectionflow_core.vlm.likelihoods import masses_from_top_tokens
from reflectionflow_core.vlm.local import LocalSettings, load_vlm

# A random model hardly thinks of yes or no, and its probabilities are what is tested.
WEIGHED = LocalSettings(least_mass=0)
ROW = {
    "prompt": "a photo of two red circles",
    "atom_count": 3,
    "vqa_list": [
        ["How many circles are in the image?", "two"],
        ["Are the circles red?", "Yes"],
        ["Are there any circles in the image?", "Yes"],
    ],
    "skills": ["count", "attribute", "object"],
}
OTHER = {
    "prompt": "a photo of a blue square",
    "atom_count": 2,
    "vqa_list": [["Is the square blue?", "Yes"], ["Are there any squares?", "Yes"]],
    "skills": ["attribute", "object"],
}


class Judge(ScriptedVlm):
    """Sure of an answer as a table says, else 0.5; `asked` holds the questions."""

    def __init__(self, sure: dict[str, float | Failure] | None = None) -> None:
        super().__init__()
        self.sure = sure or {}

    def likelihoods(
        self, questions: Sequence[Question], answers: Sequence[str], progress=None, phase="ask"
    ) -> list[tuple[float, ...] | Failure]:
        self.asked += questions
        found = [self.sure.get(q.text.removesuffix(ASK.format("")), 0.5) for q in questions]
        rest = (0.0,) * (len(answers) - 1)
        return [p if isinstance(p, Failure) else (p, *rest) for p in found]


def write(folder: Path, rows: Sequence[dict], name: str = "geneval2_data.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_data_are_read_in_every_form_that_is_promised(tmp_path: Path) -> None:
    (usual,) = read_compositions(write(tmp_path, [ROW]))
    assert (usual.prompt, usual.atomicity) == (ROW["prompt"], 3)
    assert usual.atoms[0] == Atom("How many circles are in the image?", "two", "count")
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([ROW]))
    objects = [
        {"question": q, "answer": a, "skill": s}
        for (q, a), s in zip(ROW["vqa_list"], ROW["skills"], strict=True)
    ]
    others = write(tmp_path, [{"prompt": ROW["prompt"], "questions": objects}], "others.jsonl")
    table = tmp_path / "table.csv"
    cells = [json.dumps(ROW[name]).replace('"', '""') for name in ("vqa_list", "skills")]
    table.write_text(
        f'prompt,atomicity,vqa,skill_list\n{ROW["prompt"]},3,"{cells[0]}","{cells[1]}"\n'
    )
    for file in (listed, others, table):
        assert read_compositions(file) == [usual]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"prompt": "a cup"},
        {**ROW, "prompt": " "},
        {**ROW, "skills": ["count"]},
        {**ROW, "vqa_list": []},
        {**ROW, "vqa_list": [["How many?"]]},
        {**ROW, "vqa_list": [["How many?", 2]], "skills": ["count"]},
        {**ROW, "vqa_list": "How many?"},
        {**ROW, "atom_count": "many"},
        ["a cup"],
    ],
)
def test_what_is_not_the_data_is_refused(tmp_path: Path, row: Any) -> None:
    with pytest.raises(InputError, match="is not GenEval 2's data"):
        read_compositions(write(tmp_path, [row]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("long.csv", f"prompt,vqa\n{'a' * 200_000},[]\n"),
        ("many.jsonl", '{"prompt": "a", "vqa": [["Is it?", "yes"]], "atomicity": 1e999}'),
    ],
)
def test_cells_that_cannot_be_read_are_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="is not GenEval 2's data"):
        read_compositions(tmp_path / name)


def test_each_atom_is_asked_once_with_the_picture_and_told_to_answer_in_a_word() -> None:
    judge, image = Judge({"How many circles?": 0.9, "Red?": 0.2}), picture()
    atoms = [
        Atom("How many circles?", "two", "count"),
        Atom("Red?", "Yes", "attribute"),
        Atom("Any circles?", "Yes", "object"),
    ]
    assert probabilities_of(judge, image, atoms) == (0.9, 0.2, 0.5)
    assert {q.text for q in judge.asked} == {
        "How many circles? Answer in one word.",
        "Red? Answer in one word.",
        "Any circles? Answer in one word.",
    }
    assert len(judge.asked) == 3 and all(q.images == (image,) for q in judge.asked)


def test_a_number_may_be_answered_in_a_word_or_in_digits() -> None:
    assert Atom("How many?", "Three", "count").spellings == ("Three", "3")
    assert Atom("Red?", "Yes", "attribute").spellings == ("Yes",)


def test_an_atom_without_an_answer_is_no_score() -> None:
    judge = Judge({"Red?": Failure("The server is gone.")})
    with pytest.raises(InputError, match="did not answer 'Red\\?': The server is gone"):
        probabilities_of(judge, picture(), [Atom("Red?", "Yes", "attribute")])


def test_one_wrong_atom_sinks_the_geometric_mean_only() -> None:
    gm, am = means_by_prompt([np.array([1.0, 1.0, 0.01]), np.array([1.0, 0.0])])
    assert gm == pytest.approx([0.01 ** (1 / 3), 0.0])
    assert am == pytest.approx([0.67, 0.5])


def test_tables_are_by_prompt_by_atomicity_and_by_skill() -> None:
    prompts = [
        {
            "index": i,
            "atomicity": row["atom_count"],
            "atoms": [{"skill": skill} for skill in row["skills"]],
        }
        for i, row in enumerate((ROW, OTHER))
    ]
    lines = [{"index": 0, "right": [0.2, 1, 1]}, {"index": 1, "right": [0.5, 0.5]}]
    overall, levels, skills = (
        {name: cells[0].mean for name, cells in table.rows if cells[0]}
        for table in tables_of(prompts, lines)
    )
    assert overall[GM] == pytest.approx((0.2 ** (1 / 3) + 0.5) / 2)
    assert overall[AM] == pytest.approx((2.2 / 3 + 0.5) / 2)
    assert levels["atomicity 2 (1 prompt)"] == pytest.approx(0.5)
    assert skills == pytest.approx(
        {"count (1 atom)": 0.2, "attribute (2 atoms)": 0.75, "object (2 atoms)": 0.75}
    )


def test_likely_tokens_count_only_for_the_answer_that_they_are() -> None:
    tops = [("Yes", math.log(0.5)), (" yes", math.log(0.2)), ("Yesterday", math.log(0.1))]
    assert masses_from_top_tokens([*tops, ("No", math.log(0.2))], ["yes"]) == pytest.approx((0.7,))
    assert masses_from_top_tokens([("1", math.log(0.6)), ("10", math.log(0.3))], ["ten", "10"]) == (
        pytest.approx((0.0, 0.3))
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_vlm(tmp_path_factory.mktemp("vlm"), "qwen3_vl")


def test_a_models_likelihoods_are_those_of_its_next_token(folder: Path) -> None:
    vlm = load_vlm(folder, dtype="fp32", device="cpu", settings=WEIGHED)
    assert isinstance(vlm, ExactVlm) and not isinstance(ScriptedVlm(), ExactVlm)
    question = Question("Is it red?", (picture(),), max_tokens=1)
    (found,) = vlm.likelihoods([question], ["yes", "no"])
    assert isinstance(found, tuple)
    batch = vlm._encoded([question], room=1)
    with torch.no_grad():
        odds = vlm.model(**batch).logits[0, -1].double().softmax(-1)
    tokens = vlm.processor.tokenizer
    for answer, p in zip(("yes", "no"), found, strict=True):
        ids = {
            tuple(tokens.encode(word, add_special_tokens=False))
            for form in (answer, answer.capitalize())
            for word in (form, f" {form}")
        }
        assert p == pytest.approx(float(sum(odds[i[0]] for i in ids if len(i) == 1)), rel=1e-4)
    (shared,) = vlm.choose([question], ["yes", "no"])
    assert isinstance(shared, tuple)
    assert sum(found) < 1 and shared[0] == pytest.approx(found[0] / sum(found))


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no profile x, whose host could be agreed to."""
    monkeypatch.setattr(geneval2, "agree_about", lambda *_: None)


def laid_out(folder: Path) -> Path:
    for i, (row, colour) in enumerate(((ROW, "red"), (OTHER, "blue"))):
        place = folder / f"{i:05}" / "samples"
        place.mkdir(parents=True)
        (place.parent / "metadata.jsonl").write_text(json.dumps({"prompt": row["prompt"]}))
        Image.new("RGB", (56, 56), colour).save(place / "0000.png")
    return folder


def judge(tmp_path: Path, images: Path, *options: object, name: str = "out.json") -> int:
    data = write(tmp_path, [ROW, OTHER])
    asked = ("evaluate", "geneval2", "--images", images, "--data", data, "--json", tmp_path / name)
    return main(list(map(str, (*asked, *options))))


def test_a_folder_of_pictures_is_judged_by_a_local_model(tmp_path, folder, capsys) -> None:
    images = laid_out(tmp_path / "images")
    assert judge(tmp_path, images, "--vlm", folder, "--vlm-dtype", "fp32", "--device", "cpu") == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert [len(line["right"]) for line in record["pictures"]] == [3, 2]
    assert all(0 < p < 1 for line in record["pictures"] for p in line["right"])
    assert record["provenance"]["cost"]["vlm_calls"] == 5
    assert record["about"]["judge_steered"] is False
    out = capsys.readouterr().out
    assert "| GM (headline) |" in out and "| count (1 atom) |" in out
    assert "Soft-TIFA" in (tmp_path / "out.html").read_text()


def test_pictures_may_be_listed_by_prompt_and_a_killed_judging_resumes(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    images = laid_out(tmp_path / "images")
    listed = tmp_path / "paths.json"
    paths = {
        row["prompt"]: f"images/0000{i}/samples/0000.png" for i, row in enumerate([ROW, OTHER])
    }
    listed.write_text(json.dumps(paths))
    gone: dict[str, float | Failure] = {"Is the square blue?": Failure("The server is gone.")}
    answers = iter([Judge(gone), Judge()])
    monkeypatch.setattr(geneval2, "_build", lambda *_: next(answers))
    monkeypatch.setattr(geneval2, "vlm_identity", str)
    assert judge(tmp_path, listed, "--vlm", "endpoint:x") == 2
    assert "The server is gone. The same command continues" in capsys.readouterr().err
    assert judge(tmp_path, listed, "--vlm", "endpoint:x") == 0
    assert "1 of 2 pictures judged" in capsys.readouterr().err.replace("\r", "\n")
    monkeypatch.setattr(geneval2, "_build", lambda *_: Judge())
    assert judge(tmp_path, images, "--vlm", "endpoint:x", name="whole.json") == 0
    own, whole = (json.loads((tmp_path / n).read_text()) for n in ("out.json", "whole.json"))
    assert own["summary"] == whole["summary"] and own["about"] == whole["about"]


def test_a_damaged_picture_is_left_out_and_counted(tmp_path: Path, monkeypatch, capsys) -> None:
    images = laid_out(tmp_path / "images")
    (images / "00001" / "samples" / "0000.png").write_bytes(b"no picture")
    monkeypatch.setattr(geneval2, "_build", lambda *_: Judge())
    monkeypatch.setattr(geneval2, "vlm_identity", str)
    assert judge(tmp_path, images, "--vlm", "endpoint:x") == 0
    assert "1 picture that cannot be used" in capsys.readouterr().err
    record = json.loads((tmp_path / "out.json").read_text())
    assert [line["index"] for line in record["pictures"]] == [0]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "Soft-TIFA needs a vision-language model"),
        (("--vlm", "endpoint:x", "--depth", 3), "--depth belongs to the search"),
        (("--vlm", "endpoint:x", "--images", "LACKING"), "has no picture of 1 of 2 prompts"),
        (("--vlm", "endpoint:x", "--images", "LOST"), "names"),
        (("--vlm", "endpoint:x"), "needs the probabilities"),
        (("--vlm", "endpoint:x", "--judge", "endpoint:y"), "--vlm has no effect beside --judge"),
    ],
)
def test_what_cannot_be_judged_is_named(
    tmp_path, monkeypatch, capsys, options: tuple[Any, ...], why: str
) -> None:
    images = laid_out(tmp_path / "images")
    lacking, lost = tmp_path / "lacking.json", tmp_path / "lost.json"
    lacking.write_text(json.dumps({ROW["prompt"]: "images/00000/samples/0000.png"}))
    lost.write_text(json.dumps({ROW["prompt"]: "none.png", OTHER["prompt"]: "none.png"}))
    monkeypatch.setattr(geneval2, "_build", lambda *_: ScriptedVlm())
    monkeypatch.setattr(geneval2, "vlm_identity", str)
    given = [{"LACKING": lacking, "LOST": lost}.get(option, option) for option in options]
    assert judge(tmp_path, images, *given) == 2
    assert why in capsys.readouterr().err
