"""Comparisons of evaluations: what is real, what is not, and what is no pair."""

from __future__ import annotations

import gzip
import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from reflectionflow_core.cli import main
from reflectionflow_core.cli.comparing import READERS
from reflectionflow_core.evaluation.comparison import compare
from reflectionflow_core.evaluation.statistics import (
    gain,
    holm,
    mean_share,
    prompts_needed,
    share,
    task_mean,
)
from reflectionflow_core.record import InputError

ONE_TASK = np.zeros(200)


def geneval(right: list[int], seed: int | None = 0, **changed: Any) -> dict[str, Any]:
    """A finished file of two tasks; `right` of two pictures a prompt."""
    prompts = [{"index": i, "prompt": f"p{i}", "tag": "ab"[i % 2]} for i in range(len(right))]
    lines = [
        {"index": i, "line": {"correct": sample < count}}
        for i, count in enumerate(right)
        for sample in range(2)
    ]
    about = {"judge": "eyes", "seed": seed, "versions": {}}
    return {
        "format": 2,
        "benchmark": "geneval",
        "about": about,
        "prompts": prompts,
        "pictures": lines,
        "summary": {},
        **changed,
    }


def shapes(arms: dict[str, list[list[bool]]], depth: int = 3, **changed: Any) -> dict[str, Any]:
    """A finished file of arms of one chain; a score is that of the picture before, or more."""
    settings = {"width": 1, "depth": depth, "drafts": None, "budget": {"images": None}}
    (count,) = {len(rows) for rows in arms.values()}
    return {
        "format": 1,
        "seed": 0,
        "about": {},
        "questions": [{"prompt": f"p{i}", "family": "f"} for i in range(count)],
        "arms": [{"name": name, "settings": settings} for name in arms],
        "outcomes": [
            {"arm": name, "index": i, "scores": list(map(float, range(len(row)))), "right": row}
            for name, rows in arms.items()
            for i, row in enumerate(rows)
        ],
        "summary": {},
        **changed,
    }


def compared(tmp_path: Path, a: dict, b: dict, *options: Any) -> list[str]:
    for name, record in (("a.json", a), ("b.json", b)):
        (tmp_path / name).write_text(json.dumps(record))
    found, notes = compare(tmp_path / "a.json", tmp_path / "b.json", *options, readers=READERS)
    return [*map(str, found), *notes]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def places(record: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value in a record."""
    if not isinstance(record, dict | list):
        return [path]
    inner = record.items() if isinstance(record, dict) else enumerate(record)
    return [path, *(one for key, value in inner for one in places(value, (*path, key)))]


@effort(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_evaluations_are_compared_or_refused_in_a_sentence(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    kinds = (geneval([0, 1, 2, 1]), shapes({"base": [[False, True]] * 3, "other": [[True]] * 3}))
    record = data.draw(st.sampled_from(kinds))
    damaged = json.loads(json.dumps(record))
    *path, last = data.draw(st.sampled_from(places(record)[1:]))
    holder = damaged
    for key in path:
        holder = holder[key]
    if data.draw(st.booleans()):
        holder[last] = data.draw(ANYTHING)
    else:
        del holder[last]
    raw = json.dumps(damaged).encode()
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    (folder / "a.json").write_bytes(raw)
    (folder / "b.json").write_text(json.dumps(record))
    with redirect_stdout(StringIO()) as shown, redirect_stderr(StringIO()):
        for pair in (("a.json", "b.json"), ("b.json", "a.json"), ("a.json", "a.json")):
            assert main(["compare", *(str(folder / name) for name in pair)]) in (0, 2)
    assert "nan" not in shown.getvalue()


def test_a_damaged_archive_is_a_sentence(tmp_path: Path, capsys) -> None:
    packed = bytearray(gzip.compress(json.dumps(geneval([0, 1])).encode()))
    packed[12] ^= 0xFF
    file = tmp_path / "a.json.gz"
    file.write_bytes(packed)
    other = tmp_path / "b.json.gz"
    other.write_bytes(packed)
    assert main(["compare", str(file), str(other)]) == 2
    assert "is not an evaluation" in capsys.readouterr().err


def test_a_clear_gain_is_called_better_whichever_file_has_it(tmp_path: Path) -> None:
    worse, better = geneval([0, 1, 1, 0] * 25), geneval([2, 2] * 50)
    overall, *_ = compared(tmp_path, worse, better)
    assert overall.startswith("overall (mean of tasks): B is better by 0.750 [")
    turned, *_ = compared(tmp_path, better, worse)
    assert turned == overall.replace("B is", "A is")
    assert turned.endswith("p < 0.001.")


def test_without_a_significant_difference_the_needed_prompts_are_named(tmp_path: Path) -> None:
    overall, *_ = compared(tmp_path, geneval([0, 2, 1, 1] * 5), geneval([1, 1, 1, 1] * 5))
    assert "no significant difference, B minus A is +0.000 [" in overall
    assert "over 20 prompts, p = 1.000; detecting 0.05 needs about" in overall
    same, *_ = compared(tmp_path, geneval([1] * 8), geneval([1] * 8))
    assert same == "overall (mean of tasks): none of 8 pairs differs."


def test_tasks_weigh_alike_in_the_macro_mean_and_prompts_in_the_micro_mean() -> None:
    tasks = np.array(["few"] * 2 + ["many"] * 18)
    gained = np.array([1.0] * 2 + [0.0] * 18)
    assert gain(gained, tasks).estimate.mean == pytest.approx(0.5)
    assert gain(gained, np.zeros(20)).estimate.mean == pytest.approx(0.1)


def test_pairs_of_right_or_wrong_are_told_as_mcnemar_tells_them() -> None:
    from scipy.stats import binomtest

    gained = np.array([1.0] * 14 + [-1.0] * 4 + [0.0] * 182)
    found = gain(gained, ONE_TASK)
    assert found.p == pytest.approx(binomtest(4, 18).pvalue, abs=0.01)
    assert found.differing == 18
    assert found.estimate.low < 0.05 < found.estimate.high


def test_the_planned_number_of_prompts_tells_the_gain_four_times_in_five() -> None:
    rng, spread = np.random.default_rng(1), 0.4
    needed = prompts_needed(spread)
    z = [
        gained.mean() / gained.std() * needed**0.5
        for gained in rng.normal(0.05, spread, (400, needed))
    ]
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.06)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_asking_more_questions_at_once_makes_no_answer_surer(chances: list[float]) -> None:
    raised = holm(chances)
    assert all(a >= b and a <= 1 for a, b in zip(raised, chances, strict=True))
    assert sorted(range(len(raised)), key=lambda i: (chances[i], i)) == sorted(
        range(len(raised)), key=lambda i: (raised[i], chances[i], i)
    )
    assert min(raised) == pytest.approx(min(min(chances) * len(chances), 1))


def test_pictures_of_one_prompt_do_not_make_an_interval_narrower() -> None:
    """Four equal pictures of a prompt tell no more than one."""
    right = np.random.default_rng(2).random(100) < 0.5
    of = np.ones(100)
    one = mean_share(right.astype(float), of, np.zeros(100))
    four = mean_share(4.0 * right, 4 * of, np.zeros(100))
    assert (one.low, one.high) == (four.low, four.high)
    by_wilson = share(right)
    assert one.low == pytest.approx(by_wilson.low, abs=0.02)


def test_the_interval_of_what_is_always_right_is_not_a_point() -> None:
    found = mean_share(np.full(20, 4.0), np.full(20, 4.0), np.zeros(20))
    assert found.mean == found.high == 1 and found.low < 0.9


def test_tasks_of_equal_size_are_drawn_apart() -> None:
    """Drawn with the same rng, what one task gains the other would lose, in every draw."""
    up = np.arange(10.0)
    both = task_mean(np.concatenate([up, 9 - up]), np.ones(20), np.repeat([0.0, 1.0], 10))
    assert both.high - both.low > 1


def test_arms_are_compared_at_the_largest_budget_that_both_have(tmp_path: Path) -> None:
    late = [[False, False, False, True]] * 30
    early = [[False, True]] * 30
    longer, shorter = shapes({"noise": late}, depth=3), shapes({"noise": early}, depth=1)
    (found,) = compared(tmp_path, longer, shorter)[:1]
    assert found.startswith("noise, N = 2: B is better by 1.000")
    (found,) = compared(tmp_path, longer, shorter, 1)[:1]
    assert found == "noise, N = 1: none of 30 pairs differs."
    with pytest.raises(InputError, match="at most 2 pictures"):
        compared(tmp_path, longer, shorter, 3)


def by_steps(steps: int, rights: list[bool]) -> dict[str, Any]:
    """A finished file of an arm that paints a picture of 30 steps until `steps` are spent."""
    made = shapes({"noise": [rights] * 30}, depth=99)
    made["arms"][0]["settings"]["budget"]["steps"] = steps
    for outcome in made["outcomes"]:
        outcome["spent"] = [(i, 30 * i, 0, 0.0) for i in range(1, len(rights) + 1)]
    return made


def test_arms_that_are_limited_by_steps_are_compared_after_equal_steps(tmp_path: Path) -> None:
    shorter, longer = by_steps(60, [False, False]), by_steps(120, [False, False, False, True])
    assert compared(tmp_path, shorter, longer)[0] == "noise, S = 60: none of 30 pairs differs."
    assert "S = 120: none" in compared(tmp_path, longer, longer)[0]
    with pytest.raises(InputError, match="count diffusion steps"):
        compared(tmp_path, shorter, longer, 1)


def test_a_search_that_stopped_early_counts_at_every_larger_budget(tmp_path: Path) -> None:
    stopped, searched = shapes({"noise": [[True]] * 9}), shapes({"noise": [[False] * 4] * 9})
    assert "noise, N = 4: A is better by 1.000" in compared(tmp_path, stopped, searched)[0]


def test_packed_files_are_read(tmp_path: Path) -> None:
    packed, plain = tmp_path / "a.json.gz", tmp_path / "as --out named it.gz"
    plain.write_bytes(json.dumps(geneval([1, 1])).encode())
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert str(compare(packed, plain, readers=READERS)[0][0]).endswith("none of 2 pairs differs.")


def test_different_seeds_are_no_hindrance_and_said(tmp_path: Path) -> None:
    *_, note = compared(tmp_path, geneval([1, 2]), geneval([1, 2], seed=1))
    assert "not their noise" in note


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        (geneval([1, 1]), geneval([1, 1, 1]), "different prompts .1 are in one only"),
        (geneval([1, 1]), shapes({"noise": [[True]] * 2}), "One file is of geneval"),
        (
            geneval([1, 1]),
            geneval([1, 1], about={"judge": "other", "seed": 0}),
            "different judges",
        ),
        (
            shapes({"noise": [[True]]}),
            shapes({"noise": [[True]]}, questions=[{"prompt": "q", "family": "f"}]),
            "different prompts",
        ),
        (
            shapes({"noise": [[True]]}),
            shapes({"noise": [[True]] * 3}, questions=[{"prompt": "p0", "family": "f"}] * 3),
            "different prompts .2 are in one only",
        ),
        (shapes({"noise": [[True]]}), shapes({"depth": [[True]]}), "no arm in common"),
        (geneval([1]), geneval([1], benchmark="other"), "unknown benchmark"),
        (geneval([1]), geneval([1], format=3), "has format 3"),
        (geneval([1]), {"some": "json"}, "not an evaluation"),
        (geneval([1]), {"format": 2, "summary": {}}, "not a complete evaluation"),
    ],
)
def test_what_makes_no_pairs_is_refused(tmp_path: Path, a: dict, b: dict, why: str) -> None:
    with pytest.raises(InputError, match=why):
        compared(tmp_path, a, b)


def test_the_command_says_a_sentence_a_row_and_names_what_it_cannot_read(tmp_path, capsys) -> None:
    for name, right in (("a.json", [0] * 12), ("b.json", [2] * 12)):
        (tmp_path / name).write_text(json.dumps(geneval(right)))
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    assert main(["compare", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 5 and all(line.endswith(".") for line in lines)
    assert main(["compare", files[0], str(tmp_path / "none.json")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "b.json.part").write_text("{}\n{}\n")
    assert main(["compare", files[0], str(tmp_path / "b.json.part")]) == 2
    assert "is not finished. Repeat the command that made it" in capsys.readouterr().err


def test_geneval_2_is_compared_in_both_of_its_means(tmp_path: Path) -> None:
    def file(right: list[list[float]]) -> dict[str, Any]:
        lines = [{"index": i, "right": row} for i, row in enumerate(right)]
        prompts = [{"index": i, "prompt": f"p{i}"} for i in range(len(right))]
        return geneval([0], benchmark="geneval2", prompts=prompts, pictures=lines)

    gm, am = compared(tmp_path, file([[1.0, 0.25]] * 30), file([[0.625, 0.625]] * 30))
    assert gm.startswith("GM (headline): B is better by 0.125")
    assert am == "AM: none of 30 pairs differs."
