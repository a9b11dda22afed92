"""One round of a search, and its run on disk."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from ...reflectionflow_core.archive import (
    PAGE,
    SHEET,
    Archive,
    Run,
    differences,
    open_archive,
    read_recording,
)
from ...reflectionflow_core.choice import RECORDED
from ...reflectionflow_core.doctor import versions
from ...reflectionflow_core.protocols import Actors, Progress
from ...reflectionflow_core.record import History, InputError
from ...reflectionflow_core.report import contact_sheet, html_page
from ...reflectionflow_core.search import (
    UnjudgedError,
    count_to_judge_again,
    is_over,
    left_unjudged_text,
    limit_reached,
    search,
    trailing_unjudged,
)
from ...reflectionflow_core.search.budget import limit_calls
from ...reflectionflow_core.search.checks import check_trust
from ...reflectionflow_core.settings import RANDOM_SEED, SearchSettings
from ...reflectionflow_core.vlm.judge_check import judge_text
from .judging import check_judges, errors_of_verifier, notice_of_errors, warn
from .sockets import SearchActors, SearchState
from .stopping import STOPPING

Keep = Callable[[SearchState], None]
RUNS = "reflectionflow"  # folder below ComfyUI's output directory
DEFAULTS = asdict(SearchSettings())


def next_round(
    state: SearchState, handles: SearchActors, progress: Progress, keep: Keep, begun: History
) -> SearchState:
    """The state after one more round, or part of it if the search was asked to end.

    `begun` is the history of `state` with the pictures of the round that an earlier attempt
    painted. With `save` the round is on disk too. `keep` gets the state after every judged picture.
    Raises UnjudgedError if its pictures could not be judged; they are then on disk in any case.
    """
    actors, index = handles.actors, state.next_round
    if not len(state.history):
        state = replace(state, judge=check_judges(handles, progress))
        with limit_calls(state.settings.budget):
            actors.verifier.verify(state.prompt, [])  # raises if it cannot judge this prompt
    errors = errors_of_verifier(handles, state.judge)
    check_trust(state.settings_until(index), errors)
    actors = replace(actors, errors=errors)
    begins = not len(state.history)
    state = replace(state, chosen=handles.chosen, identity=handles.identity)
    if begins:
        warn(notice_of_errors(state))
    run: Run | None = None
    if state.save:
        state = with_recorded_seed(state, state.settings_until(index))
        run = run_of(state, state.settings_until(index))
        folder = named(state, run)
        if state.folder not in ("", folder):
            raise InputError(
                "This round has other models than the rounds before, but a saved run has one "
                "set of models. Wire the same ones into every round, or switch save_run off."
            )
        state = replace(state, folder=folder)
    steps = partial(
        search, state.prompt, state.settings_until(index), actors, progress=progress, one_round=True
    )
    painted = recorded(state, run, actors, steps) if run else steps(history=begun)
    history = begun
    try:
        for history in painted:
            if not trailing_unjudged(history):
                keep(replace(state, history=history))
            # A batch is painted and judged as a whole before its first picture arrives here.
            if STOPPING.requested and not len(history.rounds[-1]) % state.settings.batch_size:
                return replace(state, history=history, done=True, stopped=True)
    except UnjudgedError as error:
        raise UnjudgedError(
            error.history, f"{error} {keep_unjudged(state, error.history)}"
        ) from error
    after = state.settings_until(index + 1)
    history = replace(history, ended=limit_reached(history, after, actors))
    return replace(state, history=history, done=is_over(history, after, actors))


def goes_on(state: SearchState, depth: int, actors: Actors) -> bool:
    """Whether a loop of this depth paints another round; scouts may finish a preview after it."""
    if state.done or state.next_round <= depth:
        return not state.done
    return not is_over(state.history, state.settings_until(depth), actors)


def keep_unjudged(state: SearchState, history: History) -> str:
    """Writes the run of pictures that could not be judged, and says where it is."""
    failed = replace(state, history=history)
    try:
        if not state.save:
            drop_unjudged(failed, state)
        return f"The pictures are kept in ComfyUI's output/{write_run(failed).folder}."
    except InputError as error:
        return f"The pictures could not be kept: {error}"


def drop_unjudged(failed: SearchState, before: SearchState) -> None:
    """Removes what an earlier attempt painted after the pictures of `before` from the run."""
    run = run_of(failed, failed.settings_until(failed.next_round - 1))
    folder = Path(folder_paths.get_output_directory()) / named(failed, run)
    with open_archive(folder, resume=True) as archive:
        archive.drop_last(again(archive.history, before.history))


def again(recorded: History, known: History) -> int:
    """How many pictures at the end of a recorded history are to be judged again."""
    return max(0, min(trailing_unjudged(recorded), len(recorded) - len(known)))


def recorded(
    state: SearchState, run: Run, actors: Actors, steps: Callable[..., Iterator[History]]
) -> Iterator[History]:
    """The next round, read from the run's folder or painted; each new picture is saved at once."""
    with opened(state, run) as archive:
        deepest = max(state.next_round, len(archive.history.rounds) - 1)
        if count_to_judge_again(archive.history, state.settings_until(deepest), actors):
            archive.drop_last(again(archive.history, state.history))
        elif words := left_unjudged_text(archive.history):
            warn(words)
        history = archive.until(state.next_round)
        if len(history) > len(state.history):
            yield history
        for step in steps(history=history):
            archive.append(step)
            yield step


def write_run(state: SearchState) -> SearchState:
    """Writes the whole run, with contact sheet and report of all rounds in its folder."""
    run = run_of(state, state.asked)
    state = replace(state, folder=named(state, run))
    with opened(state, run) as archive:
        if len(archive.history) == len(state.history):  # which may have ended since
            archive.append(replace(archive.history, ended=state.history.ended))
        history = archive.history
        settings = replace(state, history=history).asked
        sheet = io.BytesIO()
        contact_sheet(history, state.prompt, settings, state.model).save(sheet, "PNG")
        archive.write(SHEET, sheet.getvalue())
        found = judge_text(state.judge)
        page = html_page(history, state.prompt, settings, state.model, found)
        archive.write(PAGE, page.encode("utf-8", "replace"))
    return state


def read_feedback(state: SearchState) -> SearchState:
    """The state with the recorded feedback, if it is saved as it is painted."""
    if not state.save or not state.folder:
        return state
    with opened(state, run_of(state, state.settings_until(state.next_round - 1))) as archive:
        return replace(state, history=archive.until(state.next_round - 1))


def write_feedback(state: SearchState) -> SearchState:
    """Saves the person's feedback, if the search is saved as it is painted."""
    return read_feedback(state)  # whatever opens the folder writes what it lacks


def with_recorded_seed(state: SearchState, settings: SearchSettings) -> SearchState:
    """The state of a saved search; the seed of the run that it continues replaces a random one."""
    if not state.drawn_seed or len(state.history):
        return state
    folder = Path(folder_paths.get_output_directory()) / named(state, run_of(state, settings))
    recorded = read_recording(folder).run if folder.is_dir() else None
    if recorded is None:
        return state
    return replace(state, settings=replace(state.settings, seed=recorded.settings.seed))


def named(state: SearchState, run: Run) -> str:
    """The run's folder; one that was saved from the start keeps it for any random seed."""
    return folder_of(run, RANDOM_SEED if state.drawn_seed and state.save else run.settings.seed)


def run_of(state: SearchState, settings: SearchSettings) -> Run:
    """The search as an archive records it."""
    actors = {**RECORDED, **state.chosen}
    who = (actors, state.identity, versions())
    return Run(state.prompt, settings, *who, judge=state.judge)


@contextmanager
def opened(state: SearchState, run: Run) -> Iterator[Archive]:
    """The run's archive, which then holds at least all pictures of the state."""
    folder = Path(folder_paths.get_output_directory()) / state.folder
    metadata = None if args.disable_metadata else state.graph
    with open_archive(folder, resume=True, known=state.history, metadata=metadata) as archive:
        begin(archive, run)
        known = archive.history
        if (len(known), len(known.feedback)) < (len(state.history), len(state.history.feedback)):
            archive.append(state.history)
        yield archive


def begin(archive: Archive, run: Run) -> None:
    """Records the run, or its greater depth; raises InputError if the folder holds another."""
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


def folder_of(run: Run, seed: int) -> str:
    """The run's folder below the output directory, the same for the same request and `seed`."""
    # Defaults are left out, so that a setting added later renames no folder; a deeper search
    # continues the same run.
    settings = {
        name: value
        for name, value in (asdict(run.settings) | {"seed": seed}).items()
        if name != "depth" and value != DEFAULTS[name]
    }
    actors = {name: value for name, value in run.actors.items() if value}
    request = [run.prompt, settings, actors, dict(run.identity)]
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    words = re.sub(r"[\W_]+", "-", run.prompt.lower()).strip("-")[:40].rstrip("-")
    return f"{RUNS}/{words or 'run'}-{digest[:8]}"
