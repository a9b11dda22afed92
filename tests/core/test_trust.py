"""A judge whose errors are known: what its answers are worth, and what a search makes of them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import ToyGenerator, Toys, ToyVerifier, examples, facts, picture, read_back
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scripted_vlm import ScriptedVlm

from reflectionflow_core.archive.lines import entry_of, parse
from reflectionflow_core.cli import main
from reflectionflow_core.judge_errors import KINDS, OTHER, JudgeErrors, KindErrors
from reflectionflow_core.protocols import Actors, LookingAgain
from reflectionflow_core.record import Candidate, Cost, History, InputError, Request, Verdict
from reflectionflow_core.report.words import passed_text
from reflectionflow_core.search import search
from reflectionflow_core.search.checks import check_trust
from reflectionflow_core.search.looking import cropped, most_looks
from reflectionflow_core.search.policies import CONFIRM
from reflectionflow_core.search.trust import (
    BASE,
    CORRECTED,
    REPAINTED,
    WHOLE,
    Rates,
    base_rate,
    priors,
    rates_of,
    reconsidered,
    rests_on_one_pass,
    trusted_verdict,
    updated,
)
from reflectionflow_core.settings import Budget, SearchSettings
from reflectionflow_core.verdict import Trust
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.vlm.interface import Failure

PROMPT = "a red cube"
shares = st.floats(0.02, 0.98)
answers = st.lists(st.booleans(), min_size=1, max_size=4)


def errors(missed: float, alarms: float, correlation: float | None = 0.0) -> JudgeErrors:
    n = 100_000  # half an error more is nothing then
    counts = (n, round(missed * n), n, round(alarms * n))
    return JudgeErrors("toy", tuple(KindErrors(kind, *counts) for kind in KINDS), correlation)


def told(rates: Rates, met: bool) -> dict[bool, float]:
    yes = rates.right if met else rates.wrong
    return {True: yes, False: 1 - yes}


def enumerated(said: list[bool], rates: Rates, met: bool, correlation: float) -> float:
    """P(answers | met), summed over every way in which they can come about: the answers repeat, or
    each of them is drawn."""
    total = 0.0
    for repeats in (True, False):
        weight = correlation if repeats else 1 - correlation
        for drawn in product((True, False), repeat=len(said)):
            shown = [drawn[0]] * len(said) if repeats else list(drawn)
            chance = math.prod(told(rates, met)[each] for each in drawn)
            total += weight * chance * (shown == said)
    return total


@given(shares, shares, shares, st.floats(0, 1), answers)
@settings(max_examples=examples(200), deadline=None)
def test_a_belief_is_bayes_rule_over_every_way_the_answers_can_come_about(
    prior: float, right: float, wrong: float, correlation: float, said: list[bool]
) -> None:
    rates = Rates(right, wrong)
    met = prior * enumerated(said, rates, True, correlation)
    unmet = (1 - prior) * enumerated(said, rates, False, correlation)
    if met + unmet > 1e-9:
        expected = met / (met + unmet)
        assert updated(prior, said, rates, correlation) == pytest.approx(expected, abs=1e-6)


@given(shares, shares, shares, st.floats(0, 1), st.lists(st.booleans(), min_size=1, max_size=3))
@settings(max_examples=examples(100), deadline=None)
def test_repaints_of_a_picture_are_witnesses_of_it(
    prior: float, missed: float, alarms: float, correlation: float, passes: list[bool]
) -> None:
    """Against the sum over whether the picture and each of its repaints meet the requirement."""
    known = errors(missed, alarms, correlation)
    rates = rates_of(known, WHOLE)
    looks = [() if passed else (WHOLE,) for passed in passes]
    repaints = [Trust(0.5, {WHOLE: 0.5}, (look,)) for look in looks]
    total = {True: 0.0, False: 0.0}
    for first, *others in product((True, False), repeat=1 + len(passes)):
        chance = prior if first else 1 - prior
        for met, passed in zip(others, passes, strict=True):
            kept = REPAINTED.kept if first else REPAINTED.gained
            chance *= (kept if met else 1 - kept) * told(rates, met)[passed]
        total[first] += chance
    got = reconsidered(WHOLE, Trust(prior, {WHOLE: prior}), repaints, known)
    assert got == pytest.approx(total[True] / sum(total.values()), abs=1e-6)


@given(answers, st.floats(0, 1), shares)
@settings(max_examples=examples(100), deadline=None)
def test_more_passes_never_lower_a_belief_and_correlation_discounts_them(
    said: list[bool], correlation: float, prior: float
) -> None:
    rates, yes = Rates(0.9, 0.2), [True] * len(said)
    once = updated(prior, yes[:1], rates, correlation)
    often = updated(prior, yes, rates, correlation)
    assert once - 1e-9 <= often <= updated(prior, yes, rates, 0.0) + 1e-9
    assert updated(prior, yes, rates, 1.0) == pytest.approx(
        once if len(yes) == 1 else updated(prior, yes[:1], rates, 1.0)
    )


def test_answers_that_cannot_differ_and_do_count_as_the_first() -> None:
    rates = Rates(0.9, 0.2)
    assert updated(0.5, [True, False], rates, 1.0) == updated(0.5, [True], rates, 1.0)


def test_a_kind_that_the_judge_cannot_see_weighs_little() -> None:
    kinds = (KindErrors("number", 100, 90, 100, 5), KindErrors("colour", 100, 2, 100, 5))
    known = JudgeErrors("toy", kinds, 0.0)
    count = updated(0.5, [True], rates_of(known, "two cups"), 0.0)
    colour = updated(0.5, [True], rates_of(known, "the cup is red"), 0.0)
    assert count < 0.55
    assert colour > 0.9
    place = rates_of(known, "the cup is left of the plate")  # never measured: as all together
    assert place.wrong == pytest.approx((92 + 0.5) / 201)


def candidate(verdict: Verdict, parent: Candidate | None = None, action: str = "") -> Candidate:
    return Candidate(picture(bytes(192)), PROMPT, 1, verdict, "", parent, action)


def trusted(posterior: float, **beliefs: float) -> Verdict:
    return Verdict(1.0, None, trust=Trust(posterior, beliefs))


def test_a_prior_is_the_share_of_this_search_and_then_that_of_the_parent() -> None:
    past = History().extended(0, (candidate(trusted(0.1, cup=0.1)),))
    assert base_rate(History(), "thing") == pytest.approx(BASE)
    assert 0.1 < base_rate(past, "thing") < BASE
    assert base_rate(past, "colour") == pytest.approx(BASE)
    parent = candidate(trusted(0.2, cup=0.2, plate=1.0))
    request = Request(2, parent=parent, corrects=True, action="correct")
    found = priors(["cup", "plate"], request, past, errors(0.1, 0.1))
    assert found == {"cup": CORRECTED.after(0.2), "plate": CORRECTED.kept}
    evolved = replace(request, corrects=False)
    assert priors(["cup"], evolved, past, errors(0.1, 0.1)) == {"cup": base_rate(past, "thing")}


def seen(passed: bool, **beliefs: bool) -> Verdict:
    unmet = () if passed else ("missing a cup",)
    return Verdict(float(passed), passed, {k: float(v) for k, v in beliefs.items()}, unmet)


def test_a_pass_that_a_look_took_back_is_no_pass() -> None:
    known, request, past = errors(0.4, 0.02), Request(1), History()
    good, bad = seen(True, cup=True), seen(False, cup=False)
    first = trusted_verdict([good], request, past, known, 0.99, True)
    assert first.passed is None and first.doubted and not first.unmet
    assert first.trust is not None and first.trust.looks == ((),)
    back = trusted_verdict([good, bad, bad], request, past, known, 0.99, True)
    assert back.passed is False and back.unmet == ("missing a cup",)
    assert back.trust is not None and back.trust.looks == ((), ("cup",), ("cup",))
    again = trusted_verdict([good, good, good, good], request, past, known, 0.95, True)
    assert again.passed is True


def test_looks_that_answer_something_else_say_nothing() -> None:
    known, good = errors(0.1, 0.1), seen(True, cup=True)
    failed, other = Verdict.unjudged("The server does not answer."), seen(True, plate=True)
    alone = trusted_verdict([good], Request(1), History(), known, 0.99, True)
    assert trusted_verdict([good, failed, other], Request(1), History(), known, 0.99, True) == alone
    assert trusted_verdict([failed], Request(1), History(), known, 0.99, True) is failed
    unsure = Verdict(0.5, None, {"cup": 1.0})
    assert trusted_verdict([unsure], Request(1), History(), known, 0.99, True) is unsure


def test_a_rank_is_the_posterior_and_the_score_separates_equals() -> None:
    low, high = trusted(0.2), trusted(0.3)
    assert replace(low, score=5.0).rank < high.rank
    assert replace(low, score=5.0).rank > replace(low, score=4.0).rank
    assert Verdict(0.7).rank == 0.7


def test_words_say_how_often_it_was_looked_at() -> None:
    verdict = Verdict(1.0, True, trust=Trust(0.974, {}, ((), (), ())))
    assert passed_text(verdict) == "passed after 2 more looks (posterior 0.97)"
    assert passed_text(trusted(0.9)) == "passed, in doubt (posterior 0.90)"
    assert passed_text(Verdict(1.0, True)) == "passed"
    assert passed_text(Verdict(1.0)) == ""


@dataclass
class Repeating(ToyVerifier):
    """Passes whatever it sees at the first look; `later` says what it finds at others."""

    later: bool = True
    further_looks: int = 5
    again: list[int] = field(default_factory=list)

    def verify(self, prompt, images, progress=None):
        return self.answers((prompt, list(images)), [seen(True, cup=True)] * len(images))

    def look_again(self, prompt, images, look, progress=None):
        self.again.append(look)
        return self.answers(
            (prompt, list(images)), [seen(self.later, cup=self.later)] * len(images)
        )


def searched(verifier: ToyVerifier, known: JudgeErrors | None, **given) -> History:
    asked = SearchSettings(**{"width": 1, "depth": 4, "stop": "passed", "seed": 3, **given})
    actors = replace(Toys(verifier=verifier).actors(), errors=known)
    *_, last = search(PROMPT, asked, actors)
    return last


def test_a_pass_is_asked_again_until_it_is_believed() -> None:
    verifier = Repeating()
    history = searched(verifier, errors(0.4, 0.1, 0.0))
    assert len(history) == 1 and history.best.verdict.passed
    trust = history.best.verdict.trust
    assert trust is not None and trust.posterior >= 0.95
    assert verifier.again == [1, 2][: len(trust.looks) - 1] != []
    assert history.cost.vlm_calls == len(trust.looks)


def test_a_checklist_asks_again_in_other_words_and_about_a_crop() -> None:
    item = {"statement": "a cup", "question": "Is there a cup?", "fault": "missing a cup"}
    vlm = ScriptedVlm(lambda _: json.dumps({"requirements": [item]}), lambda _: (0.8, 0.2))
    verifier, image = ChecklistVerifier(vlm), Image.new("RGB", (50, 40))
    image.putpixel((0, 0), (255, 0, 0))
    (first,) = verifier.verify(PROMPT, [image])
    looks = [verifier.look_again(PROMPT, [image], look)[0] for look in (1, 2)]
    assert isinstance(verifier, LookingAgain) and verifier.further_looks == 2
    assert all(look == first for look in looks)
    asked = vlm.asked[1:]  # the first one took the prompt apart
    assert len({question.text for question in asked}) == 3
    assert all("Is there a cup?" in question.text for question in asked)
    shown = [question.images[0].tobytes() for question in asked]
    assert shown[0] == shown[1] != shown[2]


def test_a_checklist_that_was_not_taken_apart_asks_again_as_a_whole() -> None:
    vlm = ScriptedVlm(lambda _: "no idea", lambda _: (0.3, 0.7))
    verifier = ChecklistVerifier(vlm)
    (verdict,) = verifier.look_again(PROMPT, [Image.new("RGB", (8, 8))], 1)
    assert verdict.passed is False and list(verdict.aspects) == [PROMPT]
    loading = Failure("It is loading.", temporary=True)
    down = ChecklistVerifier(ScriptedVlm(on_chat=lambda _: loading))
    assert not down.look_again(PROMPT, [Image.new("RGB", (8, 8))], 1)[0].judged


@pytest.mark.parametrize(("missed", "looks"), [(0.02, 1), (0.1, 2)])
def test_one_pass_is_not_enough_of_a_judge_that_is_known_to_be_wrong_there(
    missed: float, looks: int
) -> None:
    verifier = Repeating()
    history = searched(verifier, errors(missed, 0.02, 0.5), trust=0.5)
    assert len(history) == 1 and history.best.verdict.passed
    trust = history.best.verdict.trust
    assert trust is not None and trust.posterior > 0.5 and len(trust.looks) == looks


def test_a_parent_speaks_for_what_was_found_met_there() -> None:
    known, once = errors(0.1, 0.02, 1.0), {"a cup": True, "a dog": True}
    said = Trust(0.5, {"a cup": 0.9, "a dog": 0.3}, (("a dog",),))
    correction = Request(0, parent=candidate(Verdict(0.5, False, trust=said)), corrects=True)
    assert rests_on_one_pass(once, correction, known)
    assert not rests_on_one_pass({**once, "a dog": False}, correction, known)
    assert rests_on_one_pass({**once, "a dog": False}, Request(0), known)
    assert not rests_on_one_pass(once, Request(0), errors(0.04, 0.02))


def test_with_correlation_1_no_repeated_answer_ends_a_search() -> None:
    verifier = Repeating()
    history = searched(verifier, errors(0.4, 0.1, 1.0), trust=0.99, looks=8)
    assert verifier.again == []  # it would tell nothing
    assert len(history) > 1
    assert history.rounds[0][0].verdict.doubted
    unknown = Repeating()
    assert len(searched(unknown, errors(0.4, 0.1, None), trust=0.99)) > 1  # nobody measured it
    assert unknown.again == []


def test_without_known_errors_a_pass_ends_the_search_as_ever() -> None:
    verifier = Repeating()
    history = searched(verifier, None)
    assert len(history) == 1 and history.best.verdict == seen(True, cup=True)


def test_what_is_left_in_doubt_is_handed_out_by_its_posterior() -> None:
    history = searched(Repeating(later=False), errors(0.45, 0.1, 0.5), depth=3, looks=1)
    posteriors = [c.verdict.trust.posterior for c in history if c.verdict.trust]
    best = history.best.verdict.trust
    assert best is not None and best.posterior == max(posteriors)


def test_a_doubted_pass_is_painted_again_before_anything_else() -> None:
    verifier = Repeating()
    history = searched(verifier, errors(0.3, 0.02, 1.0), strategy="adaptive", width=2)
    draft, again, *_ = history
    assert draft.verdict.doubted
    assert (again.action, again.parent) == (CONFIRM, draft)
    assert again.verdict.passed  # two pictures of one scene are two witnesses
    assert len(history) == 2


def test_a_doubted_pass_is_painted_again_from_its_own_prompt_and_no_text_is_written() -> None:
    toys = Toys(verifier=Repeating())
    settings = SearchSettings(strategy="adaptive", width=1, depth=4, seed=3)
    *_, history = search(PROMPT, settings, replace(toys.actors(), errors=errors(0.3, 0.02, 1.0)))
    draft, again, *_ = history
    assert (again.action, again.prompt, again.reflection) == (CONFIRM, draft.prompt, "")
    assert again.seed != draft.seed
    assert toys.writer.log == [] == toys.evolver.log


def test_a_verifier_that_cannot_look_in_another_way_sees_a_crop() -> None:
    verifier = ToyVerifier(pass_at=0.0)
    searched(verifier, errors(0.4, 0.1, 0.0), looks=2)
    shown = [asked[-1][0].tobytes() for asked in verifier.log]
    assert len(shown) > 1 and len({*shown}) == len(shown)
    image = Image.new("RGB", (50, 40))
    image.putpixel((0, 0), (255, 0, 0))
    assert cropped(image, 0.06).size == image.size
    assert cropped(image, 0.06).tobytes() == bytes(50 * 40 * 3)


def test_what_has_no_effect_is_refused() -> None:
    known = errors(0.1, 0.1)
    check_trust(SearchSettings(trust=0.9, looks=1), known)
    check_trust(SearchSettings(recheck=True), None)
    for asked, of_judge, message in (
        (SearchSettings(trust=0.9), None, "trust has no effect"),
        (SearchSettings(looks=1), None, "looks has no effect"),
        (SearchSettings(recheck=True), known, "recheck reuses"),
        (SearchSettings(), JudgeErrors("toy"), "without a right or without a wrong"),
    ):
        with pytest.raises(InputError, match=message):
            check_trust(asked, of_judge)
    unusable: tuple[dict[str, Any], ...] = (
        {"trust": 1.0},
        {"trust": -0.1},
        {"looks": -1},
        {"looks": 9},
    )
    for each in unusable:
        with pytest.raises(InputError):
            SearchSettings(**each)


@dataclass
class Moody(ToyVerifier):
    """Judges by the picture's own pixels, and errs about a third of them, differently each look."""

    further_looks: int = 3

    def verify(self, prompt, images, progress=None):
        return self.look_again(prompt, images, 0)

    def look_again(self, prompt, images, look, progress=None):
        rngs = [np.random.default_rng([look, *image.tobytes()[:16]]) for image in images]
        met = [{"cup": rng.random() < 0.6, "plate": rng.random() < 0.8} for rng in rngs]
        return self.answers((prompt, list(images)), [seen(all(m.values()), **m) for m in met])


@given(
    st.sampled_from(["adaptive", "reflection", "noise", "potential", "in-context"]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(0, 1000),
)
@settings(max_examples=examples(60), deadline=None)
def test_a_search_that_is_cut_anywhere_goes_on_as_it_would_have(
    strategy: str, width: int, batch: int, correlation: float, seed: int
) -> None:
    asked = SearchSettings(
        width=width, depth=4, strategy=strategy, stop="passed", seed=seed, batch_size=batch
    )
    actors = replace(Toys(verifier=Moody()).actors(), errors=errors(0.3, 0.2, correlation))
    steps = list(search(PROMPT, asked, actors))
    whole = facts(steps[-1])
    for cut in steps[:-1]:
        again = replace(Toys(verifier=Moody()).actors(), errors=actors.errors)
        *_, resumed = search(PROMPT, asked, again, read_back(cut))
        assert facts(resumed)[:2] == whole[:2]


@given(st.integers(3, 40), st.integers(0, 4), st.sampled_from(["adaptive", "reflection"]))
@settings(max_examples=examples(60), deadline=None)
def test_a_budget_of_calls_is_never_exceeded_by_further_looks(
    calls: int, looks: int, strategy: str
) -> None:
    asked = SearchSettings(
        width=2, depth=6, strategy=strategy, looks=looks, trust=0.99, budget=Budget(vlm_calls=calls)
    )
    actors = replace(Toys(verifier=Moody()).actors(), errors=errors(0.4, 0.2, 0.3))
    try:
        steps = list(search(PROMPT, asked, actors))
    except InputError as error:
        assert "VLM calls" in str(error)
        return
    spent = steps[-1].cost.vlm_calls
    assert spent <= calls
    judged = sum(len(c.verdict.trust.looks) for c in steps[-1] if c.verdict.trust)
    assert spent >= judged > 0


def test_most_looks_are_the_smaller_of_what_is_asked_for_and_what_there_is() -> None:
    toys: Actors = replace(Toys(verifier=Moody()).actors(), errors=errors(0.1, 0.1))
    assert most_looks(SearchSettings(looks=8), toys) == 3
    assert most_looks(SearchSettings(looks=1), toys) == 1
    assert most_looks(SearchSettings(looks=8), replace(toys, verifier=ToyVerifier())) == 2
    assert most_looks(SearchSettings(), replace(toys, errors=None)) == 0


def test_an_archive_keeps_what_was_asked_again() -> None:
    verdict = Verdict(1.0, None, trust=Trust(0.9, {"cup": 0.9}, ((), ("cup",))))
    entry = entry_of(candidate(verdict), 0, (0, 0), None, Cost(1, 4, 2))
    assert parse(entry.line()) == entry
    plain = entry_of(candidate(Verdict(1.0)), 0, (0, 0), None, Cost())
    assert "trust" not in plain.record() and parse(plain.line()).verdict.trust is None
    record = {**entry.record(), "trust": {"posterior": 2.0, "beliefs": {}, "looks": [[]]}}
    with pytest.raises(ValueError, match="between 0 and 1"):
        parse(json.dumps(record).encode())


def toys_on_command_line(choice, settings):
    return Toys(verifier=Moody(), generator=ToyGenerator()).actors()


def run(*options: object) -> int:
    return main(["run", *map(str, options)], build_actors=toys_on_command_line)


def errors_file(folder: Path, known: JudgeErrors) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "errors.json"
    file.write_text(json.dumps(known.data()))
    return file


def test_the_command_line_uses_a_judges_errors_and_a_resumed_run_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = errors_file(tmp_path, errors(0.3, 0.2, 0.0))
    search_ = ["--strategy", "adaptive", "--width", 1, "--stop", "passed", "--seed", 4]
    assert run(PROMPT, "--out", tmp_path / "a", *search_, "--judge-errors", file, "--depth", 6) == 0
    said = capsys.readouterr()
    assert "posterior 0." in said.out
    assert said.err.count("This judge misses") == 1  # although it is read twice
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert record["judge"]["errors"]["judge"] == "toy"
    assert "posterior" in (tmp_path / "a" / "report.html").read_text()
    begun = [PROMPT, "--out", tmp_path / "b", *search_, "--judge-errors", file, "--depth", 1]
    assert run(*begun) == 0
    assert run("--out", tmp_path / "b", "--resume", "--depth", 6) == 0
    lines = [(tmp_path / name / "history.jsonl").read_text() for name in "ab"]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trust", "0.9"], "trust has no effect"),
        (["--judge-errors", "missing.json"], "missing.json"),
        (["--judge-errors", "bad.json"], "holds no errors of a judge"),
        (["--trust", "2"], "trust is 2"),
    ],
)
def test_the_command_line_refuses_in_a_sentence(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"kinds": 3}')
    assert run(PROMPT, "--out", "x", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_rates_of_a_whole_picture_are_those_of_all_other_statements() -> None:
    known = JudgeErrors("toy", (KindErrors(OTHER, 10, 4, 10, 1), KindErrors("thing", 10, 0, 10, 0)))
    assert rates_of(known, WHOLE).wrong == pytest.approx(4.5 / 11)
