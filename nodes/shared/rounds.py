"""One round of a search, and its run on disk."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import folder_paths

from ...reflectionflow_core.archive import PAGE, SHEET, Archive, Run, differences, open_archive
from ...reflectionflow_core.doctor import versions
from ...reflectionflow_core.protocols import Actors, Progress
from ...reflectionflow_core.record import History, InputError, SearchSettings
from ...reflectionflow_core.registry import ActorChoice
from ...reflectionflow_core.report import contact_sheet, html_page
from ...reflectionflow_core.search import finished, round_steps, run_round
from .sockets import Seats, Trail

RUNS = "reflectionflow"  # folder below ComfyUI's output directory
# The settings of the first runs; later ones are in a folder's name only where they are set.
FIRST_SETTINGS = (
    *("width", "drafts", "seed", "strategy", "axes", "parents", "stop", "noise_search", "radius"),
    *("batch_size", "budget", "draft_prompt"),
)
LATER_ACTORS = ("planner", "inspector", "thinker")
PLAIN = SearchSettings()
OPEN = ("depth",)  # settings that do not tell one run from another


def next_round(trail: Trail, seats: Seats, progress: Progress) -> Trail:
    """The trail with one round more, on disk as well if it is to be saved."""
    actors, settings = seats.actors, trail.settings_until(trail.next_round)
    if not len(trail.history):
        actors.verifier.verify(trail.prompt, [])  # can it judge this prompt at all?
    trail = replace(trail, chosen=seats.chosen, identity=seats.identity)
    if trail.save:
        run = run_of(trail, settings)
        folder = folder_of(run)
        if trail.folder not in ("", folder):
            raise InputError(
                "The models of this round are not those of the rounds before, and a saved run has "
                "one set of them. Wire the same ones into every round, or switch save_run off."
            )
        trail = replace(trail, folder=folder)
        history = recorded_round(trail, run, actors, progress)
    else:
        history = run_round(trail.prompt, settings, actors, trail.history, progress)
    after = trail.settings_until(trail.next_round + 1)
    return replace(trail, history=history, done=finished(history, after, actors))


def recorded_round(trail: Trail, run: Run, actors: Actors, progress: Progress) -> History:
    """The next round as the run's folder has it, or else painted, each picture saved at once."""
    with opened(trail, run) as archive:
        history = archive.until(trail.next_round)
        for step in round_steps(trail.prompt, run.settings, actors, history, progress):
            archive.append(step)
            history = step
        return history


def write_run(trail: Trail) -> Trail:
    """The whole run in its folder, with a sheet and a page of all rounds that the folder has."""
    run = run_of(trail, trail.settings_until(trail.next_round - 1))
    trail = replace(trail, folder=folder_of(run))
    with opened(trail, run) as archive:
        history = archive.history
        settings = trail.settings_until(len(history.rounds) - 1)
        sheet = io.BytesIO()
        contact_sheet(history, trail.prompt, settings, trail.model).save(sheet, "PNG")
        archive.write(SHEET, sheet.getvalue())
        page = html_page(history, trail.prompt, settings, trail.model)
        archive.write(PAGE, page.encode("utf-8", "replace"))
    return trail


def run_of(trail: Trail, settings: SearchSettings) -> Run:
    """What the trail is asked to find, as an archive writes it down."""
    choice = ActorChoice(**trail.chosen)
    return Run(trail.prompt, settings, asdict(choice), trail.identity, versions())


@contextmanager
def opened(trail: Trail, run: Run) -> Iterator[Archive]:
    """The run's folder, which then has all that the trail has, and maybe more."""
    folder = Path(folder_paths.get_output_directory()) / trail.folder
    with open_archive(folder, resume=True, known=trail.history) as archive:
        begin(archive, run)
        if len(archive.history) < len(trail.history):
            archive.append(trail.history)
        yield archive


def begin(archive: Archive, run: Run) -> None:
    """Writes down what is asked, or that it goes deeper; never over another run."""
    recorded = archive.run
    if recorded is None or not len(archive.history):
        archive.begin(run)
        return
    deepest = max(recorded.settings.depth, run.settings.depth)
    deeper = replace(run, settings=replace(run.settings, depth=deepest))
    if differing := differences(recorded, deeper):
        raise InputError(
            f"{archive.folder} holds another run: {'; '.join(differing)}. "
            "Move that folder away, or change the seed."
        )
    if deepest > recorded.settings.depth:
        archive.begin(deeper)


def folder_of(run: Run) -> str:
    """A name for the run's folder, the same for the same request."""
    settings = {
        name: value
        for name, value in asdict(run.settings).items()
        if name not in OPEN and (name in FIRST_SETTINGS or value != getattr(PLAIN, name))
    }
    if run.settings.budget.steps is None:
        del settings["budget"]["steps"]
    actors = {name: told for name, told in run.actors.items() if told or name not in LATER_ACTORS}
    told = [run.prompt, settings, actors, dict(run.identity)]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    words = re.sub(r"[^a-z0-9]+", "-", run.prompt.lower()).strip("-")[:40].rstrip("-")
    return f"{RUNS}/{words or 'run'}-{digest[:8]}"
