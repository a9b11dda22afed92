"""Searches that look before they paint, and searches that take pictures back to noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import ToyCorrector, ToyGenerator, Toys, ToyVerifier, facts, noise

from reflectionflow_core.archive import Run, open_archive, read_recording
from reflectionflow_core.protocols import Previewing, Restarting
from reflectionflow_core.record import Candidate, History, InputError, Restart, Verdict
from reflectionflow_core.report import as_data, contact_sheet, history_text, html_page
from reflectionflow_core.search import search
from reflectionflow_core.settings import Budget, SearchSettings

PROMPT = "a red cube left of a blue ball"
POTENTIAL = SearchSettings(width=2, depth=4, seed=7, strategy="potential")
PATHS = SearchSettings(width=2, depth=3, seed=7, strategy="paths")


def last(toys: Toys, settings: SearchSettings, history: History | None = None) -> History:
    history = history or History()
    for step in search(PROMPT, settings, toys.actors(), history):
        history = step
    return history


def dropped(history: History) -> list[Candidate]:
    return [candidate for candidate in history if not candidate.finished]


def test_the_toys_can_preview_and_restart() -> None:
    assert isinstance(ToyGenerator(), Previewing)
    assert isinstance(ToyGenerator(), Restarting)
    assert isinstance(ToyCorrector(), Previewing)


def test_a_hopeless_picture_is_dropped_at_the_price_of_its_preview() -> None:
    toys = Toys(ToyGenerator(steps=9, preview_steps=2))
    history = last(toys, replace(POTENTIAL, axes=("noise",)))
    assert {c.steps for c in dropped(history)} == {2}
    assert {c.steps for c in history.finished[1:]} <= {9 + 2}
    assert history.cost.images == len(history.finished) < len(history)
    assert history.cost.steps == sum(c.steps for c in history)
    assert len(history) > POTENTIAL.scheduled_pictures  # the steps that were saved went into others


def test_the_first_picture_is_painted_without_a_preview() -> None:
    toys = Toys(ToyGenerator(steps=9))
    history = last(toys, replace(POTENTIAL, depth=0, drafts=1))
    assert [(c.finished, c.steps) for c in history] == [(True, 9)]
    assert toys.generator.looks == []


def test_a_preview_that_has_not_converged_is_not_judged() -> None:
    toys = Toys()
    toys.generator.preview = lambda requests, progress: [  # type: ignore[method-assign]
        replace(look, converged=False) for look in ToyGenerator().preview(requests, progress)
    ]
    history = last(toys, replace(POTENTIAL, axes=("noise",)))
    assert history.finished == tuple(history)
    assert toys.verifier.items == len(history)


def test_a_preview_that_passes_is_painted_however_good_the_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toys = Toys()
    passing = Verdict(1.0, passed=True)
    monkeypatch.setattr(toys.verifier, "verify", lambda _, images, __: [passing] * len(images))
    history = last(toys, replace(POTENTIAL, axes=("noise",)))
    assert history.finished == tuple(history)


def test_a_preview_that_is_only_as_good_as_its_rival_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toys, same = Toys(), Verdict(0.5, passed=False)
    monkeypatch.setattr(toys.verifier, "verify", lambda _, images, __: [same] * len(images))
    history = last(toys, replace(POTENTIAL, axes=("noise",)))
    converged = [noise("clear", candidate.seed)[0] % 3 > 0 for candidate in history][1:]
    assert [not candidate.finished for candidate in history][1:] == converged
    assert any(converged)


def test_corrections_are_previewed_too_and_parents_are_finished() -> None:
    toys = Toys()
    history = last(toys, POTENTIAL)
    assert toys.corrector.looks
    assert dropped(history)
    assert all(c.parent is None or c.parent.finished for c in history)


def test_a_corrector_without_previews_paints_every_correction() -> None:
    class Plain:
        """Corrects as its toy does, and knows nothing else."""

        steps = 4

        def __init__(self) -> None:
            self.paint = ToyCorrector().paint

    toys = Toys()
    *_, history = search(PROMPT, POTENTIAL, replace(toys.actors(), corrector=Plain()))
    assert all(c.finished for c in history if c.parent)


@pytest.mark.parametrize("settings", [POTENTIAL, PATHS])
def test_a_generator_that_cannot_is_refused_before_anything_is_painted(
    settings: SearchSettings,
) -> None:
    class Plain:
        steps = 4

        def paint(self, *_: object) -> list:
            raise AssertionError("nothing is to be painted")

    actors = replace(Toys().actors(), generator=Plain())
    with pytest.raises(InputError, match="this painter cannot do"):
        list(search(PROMPT, settings, actors))


def test_a_verifier_that_compares_never_compares_with_a_preview() -> None:
    class Comparing(ToyVerifier):
        """Writes down what it was told to remember."""

        def remember(self, prompt: str, candidates: tuple[Candidate, ...]) -> None:
            assert all(candidate.finished for candidate in candidates)
            self.on_call()
            remembered.append(len(candidates))

    remembered: list[int] = []
    toys = Toys(verifier=Comparing())
    history = last(toys, POTENTIAL)
    assert len(remembered) > len(history.rounds)  # and again after previews were judged


def test_a_budget_of_steps_is_used_up_by_pictures_that_cost_less_than_planned() -> None:
    settings = replace(POTENTIAL, axes=("noise",), depth=50, budget=Budget(steps=60))
    toys = Toys(ToyGenerator(steps=9, preview_steps=2))
    history = last(toys, settings)
    assert 60 - (9 + 2) < history.cost.steps <= 60


@pytest.mark.parametrize("steps", range(20, 60, 3))
def test_pictures_that_are_paid_for_later_keep_the_batch_that_they_would_have_had(
    steps: int,
) -> None:
    def toys() -> Toys:
        return Toys(ToyGenerator(steps=9, preview_steps=2, mates=True))

    free = replace(POTENTIAL, axes=("noise",), width=3, batch_size=2)
    whole = last(toys(), free)
    limited = last(toys(), replace(free, budget=Budget(steps=steps)))
    images = [candidate.image.tobytes() for candidate in limited]
    assert images == [candidate.image.tobytes() for candidate in whole][: len(images)]


def test_a_stop_rule_waits_for_the_finished_picture() -> None:
    toys = Toys(verifier=ToyVerifier(pass_at=0.9))
    history = last(toys, replace(POTENTIAL, stop="passed", depth=30))
    assert history.best.verdict.passed
    assert history.best.finished


def test_paths_go_back_to_less_and_less_noise_from_the_best_so_far() -> None:
    toys = Toys()
    history = last(toys, PATHS)
    assert [len(r) for r in history.rounds] == [2, 2, 2, 2]
    for index, level in enumerate((0.9, 0.8, 0.7), start=1):
        ranked = sorted(History(history.rounds[:index]), key=lambda c: -c.rank)
        for candidate, parent in zip(history.rounds[index], ranked[:2], strict=True):
            assert isinstance(candidate.seed, Restart)
            assert candidate.seed.level == level
            assert candidate.parent is parent
            assert candidate.action == "repaint"
            assert candidate.steps == toys.generator.steps_from(level)
    assert history.cost.steps == sum(candidate.steps for candidate in history)


def test_a_repainted_picture_keeps_the_words_of_its_parent() -> None:
    history = last(Toys(), replace(PATHS, draft_prompt="a red cube, seen from above"))
    assert {candidate.prompt for candidate in history} == {"a red cube, seen from above"}


def test_levels_do_not_depend_on_the_depth_and_end_at_the_lowest() -> None:
    shallow, deep = (last(Toys(), replace(PATHS, depth=depth)) for depth in (2, 9))
    assert facts(History(deep.rounds[:3]))[1] == facts(shallow)[1]
    assert deep.rounds[-1][0].seed.level == 0.3  # type: ignore[union-attr]


@pytest.mark.parametrize("settings", [POTENTIAL, PATHS])
def test_a_run_comes_back_from_the_disk_as_it_was(settings: SearchSettings, tmp_path: Path) -> None:
    history = History()
    with open_archive(tmp_path) as archive:
        archive.begin(Run(PROMPT, settings))
        for history in search(PROMPT, settings, Toys().actors()):
            archive.append(history)
    assert facts(read_recording(tmp_path).history) == facts(history)


def test_a_report_shows_what_was_only_previewed() -> None:
    history = last(Toys(), POTENTIAL)
    count = len(dropped(history))
    page, told = html_page(history, PROMPT, POTENTIAL), history_text(history)
    assert page.count(" class=faded") == count
    assert page.count('class="preview">preview only<') == told.count("preview only") == count > 0
    data = as_data(history, PROMPT, POTENTIAL)
    assert [c["finished"] for c in data["candidates"]] == [c.finished for c in history]
    assert contact_sheet(history, PROMPT, POTENTIAL).size[0] > 0
