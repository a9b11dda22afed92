"""Pictures that no verifier could judge: `pytest tests/core/test_unjudged.py`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes import SIDE, Toys, ToyVerifier, facts, read_back
from PIL import Image

from reflectionflow_core.archive import files, read_recording
from reflectionflow_core.archive.lines import OLD_FAILURE, entry_of, parse
from reflectionflow_core.cli import main
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import Candidate, Cost, History, Verdict
from reflectionflow_core.report import (
    as_data,
    contact_sheet,
    history_text,
    html_page,
    verdict_text,
)
from reflectionflow_core.report.sheet import heading
from reflectionflow_core.search import InMemory, UnjudgedError, portfolio, search
from reflectionflow_core.search.policies import BACKTRACK, progress
from reflectionflow_core.search.portfolio import expected_gain
from reflectionflow_core.search.strategies.reflection import choose_parents
from reflectionflow_core.search.unjudged import trailing_unjudged, unjudged_text
from reflectionflow_core.settings import Budget, SearchSettings
from reflectionflow_core.verifiers.ensemble import EnsembleMember, EnsembleVerifier
from reflectionflow_core.verifiers.noisy import NoisyVerifier

WORDS = "The endpoint mine answered 401 (unauthorized); check the api_key of its profile."
UNJUDGED = Verdict.unjudged(WORDS)


def candidate(verdict: Verdict, **how: Any) -> Candidate:
    return Candidate(Image.new("RGB", (SIDE, SIDE)), "a cat", 0, verdict, **how)


@dataclass
class Moody(ToyVerifier):
    """A ToyVerifier that fails at the pictures of some numbers, counted over all its life."""

    fails: Sequence[int] | range = ()
    seen: list[Verdict] = field(default_factory=list)

    def verify(
        self, prompt: str, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        known = super().verify(prompt, images, progress)
        start = len(self.seen)
        given = [UNJUDGED if start + i in self.fails else v for i, v in enumerate(known)]
        self.seen += given
        return given


@pytest.mark.parametrize("score", [-30.0, -1.0, 0.0, -1e300])
def test_a_picture_that_was_not_judged_ranks_below_every_score(score: float) -> None:
    assert UNJUDGED.score is None
    assert UNJUDGED.rank < Verdict(score).rank == score
    assert (UNJUDGED.judged, Verdict(score).judged) == (False, True)
    assert (UNJUDGED.failure, Verdict(score, explanation="It is dark.").failure) == (WORDS, None)


def test_a_verdict_without_score_needs_a_reason_and_has_no_result() -> None:
    for reason, passed in (("", None), (" ", None), ("x", False), ("x", True)):
        with pytest.raises(ValueError, match="needs a reason and has no result"):
            Verdict(None, passed, explanation=reason)
    with pytest.raises(ValueError, match="has no result"):
        Verdict(None, unmet=("a cup",), explanation="x")
    assert Verdict.unjudged(" ").failure == "No reason was given."


def test_the_best_is_a_judged_one_whatever_it_scores() -> None:
    first, worst = candidate(UNJUDGED), candidate(Verdict(-1e9))
    history = History(((first, worst),))
    assert history.best is worst
    assert history.unjudged == [first]
    assert History(((first,),)).best is first


def test_a_failure_is_written_as_null_and_read_back() -> None:
    made = candidate(Verdict.unjudged(WORDS, {"clip": 0.5}))
    entry = entry_of(made, 0, (0, 0), None, Cost(images=1))
    record = json.loads(entry.line())
    assert (record["score"], record["passed"], record["explanation"]) == (None, None, WORDS)
    assert parse(entry.line()).verdict == made.verdict
    for damage in ({"passed": True}, {"explanation": ""}, {"unmet": ["x"]}):
        with pytest.raises(ValueError, match="without a score"):
            parse(json.dumps({**record, **damage}).encode())


@pytest.mark.parametrize("score", [-30.0, -1.0, 0.0])
def test_a_failure_of_an_older_history_is_read_as_one(score: float) -> None:
    record = entry_of(candidate(Verdict(1)), 0, (0, 0), None, Cost(images=1)).record()
    old = {**record, "score": score, "explanation": f"{OLD_FAILURE}{WORDS}"}
    assert parse(json.dumps(old).encode()).verdict == UNJUDGED
    judged = {**old, "passed": False}  # no failure had a result
    assert parse(json.dumps(judged).encode()).verdict.score == score


def test_how_many_could_not_be_judged_is_said_in_the_verifiers_words() -> None:
    judged, other = candidate(Verdict(1)), candidate(Verdict.unjudged("It is dark."))
    failed = candidate(UNJUDGED)
    assert unjudged_text(History(((judged,),))) == ""
    assert unjudged_text(History()) == ""
    assert unjudged_text(History(((failed,),))) == f"0 of 1 picture could be judged: {WORDS}"
    assert unjudged_text(History(((failed, judged), (failed,)))) == (
        f"2 of 3 pictures could not be judged: {WORDS}"
    )
    assert unjudged_text(History(((other, failed, failed, judged),))) == (
        f"3 of 4 pictures could not be judged: {WORDS} (2 of them) It is dark. (1 of them)"
    )


def test_an_ensemble_does_not_judge_with_fewer_judges_than_it_has() -> None:
    moody, toy = Moody(fails=[0, 2]), ToyVerifier()
    both = [EnsembleMember("moody", moody), EnsembleMember("toy", toy)]
    images = [Image.new("RGB", (SIDE, SIDE), (i * 50, 0, 0)) for i in range(4)]
    ensemble = EnsembleVerifier(both)
    failed, first, again, last = ensemble.verify("a cat", images)
    assert failed.failure == again.failure == WORDS
    assert set(failed.aspects) == {"toy"}
    assert first.score is not None and last.score is not None
    gated = EnsembleVerifier([EnsembleMember("toy", toy)], gate=Moody(fails=[1]))
    assert [v.judged for v in gated.verify("a cat", images[:2])] == [True, False]


def test_an_ensemble_compares_with_the_first_score_of_each_member_also_after_a_crash() -> None:
    images = [Image.new("RGB", (SIDE, SIDE), (i * 40, 0, 0)) for i in range(6)]

    def joined(fails: Sequence[int]) -> EnsembleVerifier:
        moody = EnsembleMember("moody", Moody(fails=fails), spread=0.1)
        return EnsembleVerifier([moody, EnsembleMember("toy", ToyVerifier())])

    whole = joined([0, 3]).verify("a cat", images)
    known = [
        Candidate(image, "a cat", 0, verdict) for image, verdict in zip(images, whole, strict=True)
    ]
    for cut in range(len(images)):
        later = joined([i - cut for i in (0, 3)])
        later.remember("a cat", known[:cut])
        assert later.verify("a cat", images[cut:]) == whole[cut:]


def test_an_erring_judge_makes_no_verdict_of_a_failure() -> None:
    noisy = NoisyVerifier(Moody(fails=[0]), error_rate=1.0)
    image = Image.new("RGB", (SIDE, SIDE))
    assert noisy.verify("a cat", [image]) == [UNJUDGED]
    assert noisy.verify("a cat", [image])[0].passed is True


def test_a_chain_goes_on_from_what_was_judged() -> None:
    draft = candidate(Verdict(0.1))
    failed = candidate(UNJUDGED, parent=draft)
    better = candidate(Verdict(0.2), parent=draft)
    settings = SearchSettings()
    assert settings.parents == "latest"
    parents = choose_parents(settings, [draft, draft, failed], [failed, better, failed])
    assert parents == [draft, better, failed]
    past = History(((draft,), (failed,)))
    assert progress(settings, past, [draft, failed]) == BACKTRACK


def test_what_was_not_judged_promises_nothing_to_a_portfolio() -> None:
    far = candidate(Verdict(0.1, False, unmet=("a", "b", "c")))
    failed = candidate(UNJUDGED)
    assert expected_gain(History(((far, failed),))) == expected_gain(History(((far,),)))
    assert expected_gain(History(((failed,),))) == 1.0


def test_reports_show_a_failure_in_its_words_and_no_number() -> None:
    assert verdict_text(UNJUDGED) == f"not judged: {WORDS}"
    judged = [candidate(Verdict(score)) for score in (0.25, 0.5)]
    page = html_page(History(((candidate(UNJUDGED), *judged),)), "a cat")
    assert WORDS in page
    assert 'class="unjudged"' in page
    assert "not judged" in page
    for lost in ("inf", "nan", "None"):
        assert f">{lost}" not in page.lower() and f"-{lost}" not in page.lower()
    assert math.isinf(UNJUDGED.rank)


def moody(fails: Sequence[int] | range) -> Toys:
    return Toys(verifier=Moody(fails=fails))


def played(settings: SearchSettings, toys: Toys) -> tuple[History, UnjudgedError | None]:
    history = History()
    try:
        for step in search("a cat", settings, toys.actors()):
            history = step
    except UnjudgedError as error:
        assert error.history is history
        return history, error
    return history, None


EVER = range(10_000)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_first_batch_that_cannot_be_judged_ends_a_search_and_is_kept(size: int) -> None:
    toys = moody(EVER)
    history, error = played(SearchSettings(width=4, depth=3, batch_size=size), toys)
    assert len(history) == size == toys.generator.items
    many = "s" if size > 1 else ""
    assert str(error) == f"0 of {size} picture{many} could be judged: {WORDS}"


def parents(strategy: str, fails: Sequence[int], **how: Any) -> list[list[int | None]]:
    """The numbers of the parents that each round after the first has."""
    settings = SearchSettings(strategy=strategy, **how)
    history, _ = played(settings, moody(fails))
    numbers = {id(c): i for i, c in enumerate(history)}
    return [[numbers.get(id(c.parent)) for c in one] for one in history.rounds[1:]]


@pytest.mark.parametrize("strategy", ["reflection", "paths", "interleaved", "in-context"])
def test_chains_begin_with_what_was_judged(strategy: str) -> None:
    how: dict[str, Any] = {"width": 2, "drafts": 3, "depth": 1}
    assert parents(strategy, [1, 2], **how) == [[0, 0]]
    if strategy == "reflection":  # without new noise one parent twice would be one picture twice
        assert parents(strategy, [1, 2], axes=("reflection",), **how) == [[0, 1]]


@pytest.mark.parametrize("policy", ["progress", "steady", "restart"])
@pytest.mark.parametrize("axes", [("noise", "reflection"), ("reflection",)])
def test_an_unjudged_correction_is_not_corrected_by_any_policy(
    policy: str, axes: tuple[str, ...]
) -> None:
    how: dict[str, Any] = {"width": 1, "drafts": 1, "depth": 2, "policy": policy, "axes": axes}
    assert [1] not in parents("adaptive", [1], **how)


def test_a_search_of_one_picture_ends_in_the_error_too() -> None:
    _, error = played(SearchSettings(width=1, depth=0), moody(EVER))
    assert str(error) == f"0 of 1 picture could be judged: {WORDS}"


@pytest.mark.parametrize(("width", "size", "most"), [(1, 1, 3), (2, 1, 3), (4, 2, 4), (2, 6, 6)])
def test_a_judge_that_dies_later_ends_a_search_after_a_few_pictures_in_a_row(
    width: int, size: int, most: int
) -> None:
    settings = SearchSettings(width=width, depth=20, drafts=6, batch_size=size)
    history, error = played(settings, moody(range(6, 10_000)))
    assert most <= trailing_unjudged(history) < most + size
    assert len(history) == 6 + trailing_unjudged(history)
    last = trailing_unjudged(history)
    assert str(error) == f"The last {last} of {len(history)} pictures could not be judged: {WORDS}"


def test_single_failures_cost_a_verdict_and_nothing_else() -> None:
    settings = SearchSettings(width=2, depth=4, drafts=3)
    history, error = played(settings, moody([1, 2, 4, 6, 7, 10]))
    assert error is None
    assert len(history) == settings.scheduled_pictures
    assert len(history.unjudged) == 6
    assert history.best.verdict.judged


@pytest.mark.parametrize("fails", [EVER, range(5, 10_000)])
def test_a_search_goes_on_without_what_could_not_be_judged_as_if_it_had_been(
    fails: range,
) -> None:
    settings = SearchSettings(width=2, depth=3, drafts=3)
    history, error = played(settings, moody(fails))
    assert error is not None
    kept = read_back(history.without_last(trailing_unjudged(history)))
    *_, resumed = search("a cat", settings, Toys().actors(), kept)
    whole, _ = played(settings, Toys())
    assert facts(resumed)[:2] == facts(whole)[:2]


@pytest.mark.parametrize("count", range(6))
def test_a_history_without_its_last_pictures_is_the_one_before_them(count: int) -> None:
    settings = SearchSettings(width=2, depth=1, drafts=3)
    steps = [History(), *search("a cat", settings, Toys().actors())]
    shorter = steps[-1].without_last(count)
    assert shorter.rounds == steps[-1 - count].rounds
    assert shorter.cost == steps[-1].cost


def in_portfolio(*toys: Toys) -> tuple[list[int], list[InMemory], UnjudgedError]:
    settings = SearchSettings(width=1, depth=2)
    searches = [InMemory(f"cat {i}", settings, each.actors()) for i, each in enumerate(toys)]
    played: list[int] = []
    with pytest.raises(UnjudgedError) as error:
        for index, _ in portfolio(searches, Budget()):
            played.append(index)
    return played, searches, error.value


def test_a_portfolio_ends_at_once_where_nothing_was_ever_judged() -> None:
    assert in_portfolio(moody(EVER), Toys())[0] == [0]


def test_a_prompt_that_cannot_be_judged_does_not_end_the_others() -> None:
    played, searches, error = in_portfolio(Toys(), moody(EVER), Toys())
    assert [played.count(i) for i in range(3)] == [3, 1, 3]
    assert error.history is searches[1].history


def test_a_portfolio_ends_when_prompt_after_prompt_cannot_be_judged() -> None:
    dead = [moody(EVER) for _ in range(5)]
    assert in_portfolio(Toys(), *dead)[0] == [0, 1, 2, 3]


def test_sheet_text_and_data_say_how_many_could_not_be_judged_and_why() -> None:
    judged = candidate(Verdict(0.25, True))
    some, none = History(((candidate(UNJUDGED), judged),)), History(((candidate(UNJUDGED),),))
    for history, words in ((some, "1 of 2 pictures could not"), (none, "0 of 1 picture could")):
        sentence = f"{words} be judged: {WORDS}"
        assert history_text(history).endswith(sentence)
        head = heading(history, "a cat", [], 10_000)
        assert sentence in [line.text for line in head]
        assert contact_sheet(history, "a cat").size > (0, 0)
        assert sentence in html_page(history, "a cat")
        assert as_data(history, "a cat")["unjudged"] == sentence
        json.dumps(as_data(history, "a cat"), allow_nan=False)
    assert as_data(some, "a cat")["best"] == 1
    assert as_data(none, "a cat")["best"] is None
    page = re.sub(r"(?s)<(script|style).*?</\1>", "", html_page(none, "a cat"))
    for shown in (history_text(none), page):
        assert "★" not in shown and "Best picture" not in shown and "<svg" not in shown


@pytest.fixture
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)


def run(toys: Toys, *options: object) -> int:
    return main(["run", *map(str, options)], build_actors=lambda *_: toys.actors())


def lines_without_cost(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "history.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) | {"cost": None} for line in lines]


SMALL = ("--width", "2", "--depth", "2", "--drafts", "3")


@pytest.mark.usefixtures("without_waiting_for_the_disk")
@pytest.mark.parametrize(("fails", "left"), [(EVER, 1), (range(4, 10_000), 7), ([3], 7)])
def test_on_the_command_line_it_is_said_everywhere_and_resumed_as_if_it_had_not_been(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Sequence[int], left: int
) -> None:
    out = tmp_path / "run"
    status = run(moody(fails), "a cat", "--out", out, *SMALL)
    said, history = capsys.readouterr(), read_recording(out).history
    assert status == (0 if fails == [3] else 4)
    assert len(history) == left == len(list((out / "images").iterdir()))
    sentence = {
        1: f"0 of 1 picture could be judged: {WORDS}",
        7: unjudged_text(history),
    }[left]
    assert sentence in said.out
    assert sentence in (out / "report.html").read_text("utf-8")
    assert f"not judged ({WORDS})" in said.err
    assert "inf" not in said.out + said.err
    if status:
        assert (
            f"could be judged: {WORDS}" in said.err or f"could not be judged: {WORDS}" in said.err
        )
        assert f"--out {out} --resume" in said.err
        assert run(Toys(), "--out", out, "--resume") == 0
        whole = tmp_path / "whole"
        run(Toys(), "a cat", "--out", whole, *SMALL)
        assert lines_without_cost(out) == lines_without_cost(whole)
        assert {p.name for p in out.rglob("*")} == {p.name for p in whole.rglob("*")}


@pytest.mark.usefixtures("without_waiting_for_the_disk")
@pytest.mark.parametrize("judged", [0, 1])
def test_however_often_a_run_is_resumed_it_keeps_to_its_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], judged: int
) -> None:
    out, painted, asked, status = tmp_path / "run", 0, 0, 0
    for start in range(7):
        toys = moody(range(0 if start else judged, 10_000))
        options = ("--resume",) if start else ("a cat", *SMALL, "--max-images", 6)
        status = run(toys, "--out", out, *options)
        painted += toys.generator.items + toys.corrector.items
        asked += len(toys.verifier.seen)  # type: ignore[attr-defined]
        cost = read_recording(out).history.cost
        assert (cost.images, cost.vlm_calls >= asked) == (painted, True)
    assert (painted, status) == (6, 0 if judged else 4)
    assert "give a larger budget" in capsys.readouterr().err
    assert len(read_recording(out).history) == (3 if judged else 1)  # none is lost
    assert run(Toys(), "--out", out, "--resume", "--max-images", 13 - judged) == 0
    assert not read_recording(out).history.unjudged


@pytest.mark.usefixtures("without_waiting_for_the_disk")
def test_resumed_with_a_judge_that_is_still_dead_it_says_so_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    for fails in (EVER, EVER):
        options = ("--resume",) if out.exists() else ("a cat", *SMALL)
        assert run(moody(fails), "--out", out, *options) == 4
        assert f"0 of 1 picture could be judged: {WORDS}" in capsys.readouterr().err
    assert len(read_recording(out).history) == 1


@pytest.mark.usefixtures("without_waiting_for_the_disk")
@pytest.mark.parametrize("after", range(11))
def test_a_kill_while_pictures_are_dropped_leaves_a_folder_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    out, whole = tmp_path / "run", tmp_path / "whole"
    options = ("--strategy", "reflection", "--depth", "2", "--batch-size", "3")
    assert run(moody(EVER), "a cat", "--out", out, *options) == 4
    steps = iter(range(100))

    class KilledError(BaseException):
        pass

    def killed(real: Any) -> Any:
        def step(*given: Any, **named: Any) -> Any:
            if next(steps) == after:
                raise KilledError
            return real(*given, **named)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(files, "truncate", killed(files.truncate))
        patch.setattr(files, "remove", killed(files.remove))
        with suppress(KilledError):
            run(Toys(), "--out", out, "--resume")
    assert run(Toys(), "--out", out, "--resume") == 0
    run(Toys(), "a cat", "--out", whole, *options)
    assert lines_without_cost(out) == lines_without_cost(whole)
    assert read_recording(out).history.cost.images == 2 + 6  # of which two are gone


@pytest.mark.usefixtures("without_waiting_for_the_disk")
def test_a_batch_whose_pictures_cannot_be_judged_says_so_and_goes_on_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "batch"
    prompts.write_text("a cat\na dog\n", "utf-8")
    assert run(moody(EVER), "--prompts", prompts, "--out", out, *SMALL) == 4
    said = capsys.readouterr()
    assert f"0 of 1 picture could be judged: {WORDS}" in said.err
    assert f"not judged: {WORDS}" in said.out
    assert "1 could not be judged" in said.out
    assert WORDS in (out / "overview.html").read_text("utf-8")
    run(Toys(), "--out", out, "--resume", "--max-images", 1)  # which was painted before
    assert "001-a-cat: The last picture could not be judged." in capsys.readouterr().err
    assert run(Toys(), "--out", out, "--resume", "--max-images", 99) == 0
    histories = [read_recording(folder).history for folder in sorted(out.glob("00*"))]
    assert [len(each) for each in histories] == [7, 7]
    assert not any(each.unjudged for each in histories)
