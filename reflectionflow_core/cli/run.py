"""`reflectionflow run`: a search that stores every picture before the next one begins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..archive import RUN, Archive, Recording, Run, differences, open_archive
from ..archive.experience import experience
from ..choice import RECORDED, ActorChoice
from ..doctor import versions
from ..identity import identity
from ..plugins import load_plugins
from ..protocols import Actors
from ..record import Cost, History, InputError
from ..registry import choice_of
from ..report.words import counted, ended_text, forecast_text
from ..search import (
    Forecast,
    UnjudgedError,
    count_to_judge_again,
    forecast,
    left_unjudged_text,
    limit_reached,
    search,
    search_with_pauses,
)
from ..search.budget import limit_calls
from ..search.checks import check_understood, planned_pictures
from ..search.policies import policy_named
from ..search.strategies import axes_in_force
from ..settings import Budget, SearchSettings
from ..texts import TextError, checked_text, no_folder, printable
from ..vlm.named import HUB_ID, price_in_profile
from ..vlm.profiles import command_line_folder
from .asking import StoppedByPersonError, Terminal
from .effects import Situation, check_effects
from .judging import check_judge, knowing_errors, say_unused_errors, with_errors_of
from .me import check_heard
from .naming import command_text, flag_of, name_of
from .options import make_record, make_settings, settings_of, with_drawn_seed
from .outcome import CommandOutcome, open_address
from .passing import ranking_notice
from .preparing import prepared
from .reporting import found, write_reports
from .review import ReviewPage
from .screen import Screen, quieten_libraries
from .unloaded import check_rules, has_known_costs, said_later, unloaded_search

BuildActors = Callable[[ActorChoice, SearchSettings], Actors]
UNJUDGED, INTERRUPTED = 4, 130  # exit statuses


def run(
    given: Mapping[str, Any], build_actors: BuildActors, page: ReviewPage | None = None
) -> CommandOutcome:
    """Searches, resumes or only reports; asks on `page`, or in the terminal without one."""
    with open_archive(folder_of(given), resume=given.get("resume", False)) as archive:
        for notice in archive.notices:
            say(notice)
        recorded = recorded_request(given, archive)
        model = str(given.get("model", recorded.actors.get("model", "") if recorded else ""))
        quieten_libraries(downloads=HUB_ID.fullmatch(model) is not None)
        choice, asked = asked_for(given, recorded)
        if archive.run:  # what was paid before the first picture stays paid
            asked = replace(asked, calls=archive.run.calls)
        check_heard(choice, given.get("quiet", False), asked.ask and page is None)
        if archive.run and len(archive.history):  # otherwise there are no pictures to protect
            check_resumable(archive.folder, archive.run, asked)
            check_budget(given, archive.folder, archive.history.cost)
        begun = archive.run if len(archive.history) else None
        if has_known_costs(choice):
            if choice.model != "miniature":  # whose rules are soon asked themselves
                check_rules(asked.prompt, choice, asked.settings)
            with said_later():
                unloaded_search(given, choice, asked, begun, archive.history)
        asked = with_errors_of(check_judge(choice, asked, given), begun)
        say_unused_errors(asked, choice)
        actors = knowing_errors(build_actors(choice, asked.settings), choice, asked, given)
        # No picture, only the question whether it can judge this prompt, before hours are painted.
        with limit_calls(asked.settings.budget, asked.calls):
            check_understood(asked.prompt, asked.settings, actors)
        asked, spent, words = prepared(asked, choice, archive, actors)
        for text in filter(None, (words, ranking_notice(choice, asked.settings))):
            say(text)
        archive.begin(asked)
        return _search(archive, asked, actors, spent, page)


def check_run_folder(folder: str) -> None:
    """Raises InputError for a folder without a run."""
    if not folder.strip() or not Path(folder).is_dir():
        raise no_folder(folder, "Give the --out folder of a run.")
    if not (Path(folder) / RUN).is_file():
        raise InputError(f"{folder} holds no run. Give the --out folder of one.")


def run_with_page(
    given: Mapping[str, Any], build_actors: BuildActors, port: int = 0
) -> CommandOutcome:
    """Runs, and asks after every round on a local page."""
    opens = given.get("open", False)
    asked = {name: value for name, value in given.items() if name != "open"}
    with ReviewPage(port, given["out"]) as page:
        say(f"Answer on this page; the address opens it once: {page.address}")
        if opens and (problem := open_address(page.address)):
            say(problem)
        return run({**asked, "ask": True}, build_actors, page)


def folder_of(given: Mapping[str, Any]) -> Path:
    """The folder of --out; raises InputError for an empty name and for a file."""
    folder = Path(given["out"])
    if not given["out"].strip():
        raise InputError("The name of the folder is empty. Give one after --out.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file. Choose a folder.")
    return folder


def check_budget(given: Mapping[str, Any], folder: Path, spent: Cost) -> None:
    """Raises InputError for a limit that what is in `folder` has passed already."""
    for f in fields(Budget):
        if f.name == "seconds":  # the last batch may exceed them, and the same command may follow
            continue
        name, count = name_of(f), getattr(spent, f.name)
        most = given.get(name)
        if most is not None and most < count:
            raise InputError(
                f"{flag_of(name)} is {most}, but the run in {folder} has already used {count:,}. "
                "Give a larger number, or none."
            )


def _search(
    archive: Archive, asked: Run, actors: Actors, spent: Cost, page: ReviewPage | None = None
) -> CommandOutcome:
    archive.drop_last(count_to_judge_again(archive.history, asked.settings, actors))
    if words := left_unjudged_text(archive.history):
        say(words)
    past = archive.history.charged(spent)
    known = experience(archive.folder.parent, asked)
    ahead = forecast(asked.settings, actors, past, known.pass_rate)
    if ahead is None or ahead.most.steps:
        say(forecast_text(ahead, known.seconds_each, price_of(asked)))
    try:
        most = _most_pictures(asked, past, ahead)
        with Screen(most, archive.history, asked.settings.budget) as screen:
            if page:
                page.state = screen.state
            history = past
            for history in _steps(archive, asked, actors, past, screen, page):
                painted = len(history) - len(archive.history)
                archive.append(history)
                if painted:
                    screen.painted(history)
        if len(history):
            ended = limit_reached(history, asked.settings, actors)
            archive.append(replace(history, ended=ended))
            if history is past:
                say(f"Nothing is left to paint. {ended_text(history, asked.settings)}")
    except StoppedByPersonError:
        _say_how_to_resume(archive)
    except KeyboardInterrupt:
        if not len(archive.history):
            return CommandOutcome(INTERRUPTED, error="Stopped.")
        write_reports(archive.folder, asked, archive.history)
        stopped = found(archive.folder, asked, archive.history, INTERRUPTED)
        return replace(stopped, text="", error=f"Stopped.\n{_how_to_resume(archive)}")
    except UnjudgedError as error:
        write_reports(archive.folder, asked, archive.history)
        message = f"reflectionflow: {error}\n{_how_to_resume(archive)}"
        return found(archive.folder, asked, archive.history, UNJUDGED, message)
    except Exception:
        _say_how_to_resume(archive)
        raise
    write_reports(archive.folder, asked, archive.history)
    status = 0 if archive.history.best.verdict.judged else UNJUDGED
    return found(archive.folder, asked, archive.history, status)


def _most_pictures(asked: Run, past: History, ahead: Forecast | None) -> int:
    """The most pictures that the search will have, for its progress."""
    planned = planned_pictures(asked.settings)
    if ahead is not None and ahead.sure:
        planned = len(past) + ahead.most.images
    return min(planned, asked.settings.budget.images or planned)


def _steps(
    archive: Archive,
    asked: Run,
    actors: Actors,
    past: History,
    screen: Screen,
    page: ReviewPage | None,
) -> Iterator[History]:
    """The search, which asks a person after every round if requested."""
    if not asked.ask:
        yield from search(asked.prompt, asked.settings, actors, past, screen)
        return
    person = page or Terminal(archive.folder, screen)
    for history in search_with_pauses(asked.prompt, asked.settings, actors, person, past, screen):
        yield history
        if person.stops:  # with choices, which are kept by now
            raise StoppedByPersonError


def price_of(asked: Run) -> float | None:
    """The price of a judge's call, from its profile or from its server's report."""
    price = price_in_profile(asked.actors.get("vlm"), command_line_folder())
    said = asked.judge.get("price")
    return said if price is None and isinstance(said, int | float) else price


def asked_for(given: Mapping[str, Any], recorded: Run | None) -> tuple[ActorChoice, Run]:
    """The request: the given options over those of the run that is resumed, if any."""
    actors = make_record(given, recorded.actors if recorded else RECORDED)
    load_plugins(actors.get("plugins", ()))
    given = with_drawn_seed(given, recorded.settings.seed if recorded else None)
    prompt = given.get("prompt", recorded.prompt if recorded else None)
    settings = make_settings(given, recorded.settings if recorded else settings_of(given))
    choice = _choice_of(actors)
    if prompt is None:
        raise InputError(f"There is no run in {given['out']} yet. Give a prompt to begin one.")
    _check_prompt(prompt)
    if "think_first" in given and "draft_prompt" in given:
        raise InputError(
            "--think-first writes the draft prompt, and --draft-prompt is one. Leave one out."
        )
    axes_in_force(settings)  # raises for a strategy that does not exist,
    policy_named(settings.policy)  # and this for a policy
    thinks = given.get("think_first", recorded.think_first if recorded else False)
    check_effects(Situation(settings, choice, given, thinks))
    calls, judge = (recorded.calls, recorded.judge) if recorded else (0, {})
    who = (actors, identity(choice), versions())
    run = Run(prompt, settings, *who, think_first=thinks, calls=calls, judge=judge)
    return choice, replace(run, ask=given.get("ask", recorded.ask if recorded else False))


def recorded_request(given: Mapping[str, Any], archive: Archive | Recording) -> Run | None:
    """The recorded request of a run that is resumed; before the first picture its prompt may
    change, and then the texts written for it are dropped."""
    recorded = archive.run if given.get("resume") else None
    if not recorded or len(archive.history) or given.get("prompt") in (None, recorded.prompt):
        return recorded
    return replace(recorded, settings=replace(recorded.settings, stages=(), draft_prompt=None))


def _check_prompt(prompt: str) -> None:
    if not prompt.strip():
        raise InputError("The prompt is empty. Say in words what to paint.")
    try:
        checked_text(prompt)
    except TextError as error:
        raise InputError(
            f"The prompt cannot be used: {error.reason}. Check the encoding of the terminal."
        ) from error


def _choice_of(actors: Mapping[str, Any]) -> ActorChoice:
    try:
        return choice_of(actors)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The run has actors that this version does not know ({error}). "
            "Continue it with the version that began it."
        ) from error


def check_same(folder: Path, recorded: Run, asked: Run) -> None:
    """Raises InputError if `folder` has pictures of another request."""
    differing = differences(recorded, asked)
    if differing:
        raise InputError(
            f"{folder} holds another run: {'; '.join(differing)}. "
            "Continue it with what it began with, or choose another folder."
        )


def check_resumable(folder: Path, recorded: Run, asked: Run) -> None:
    """`check_same`, and a note where library versions differ."""
    check_same(folder, recorded, asked)
    newer = [
        name for name, version in asked.versions.items() if recorded.versions.get(name) != version
    ]
    if newer:
        say(f"The run began with other versions of {', '.join(newer)}; pixels may differ.")


def _say_how_to_resume(archive: Archive) -> None:
    if len(archive.history):
        say(_how_to_resume(archive))


def _how_to_resume(archive: Archive) -> str:
    kept = f"{counted(len(archive.history), 'finished picture')} kept."
    return f"{kept} {how_to_continue(archive.folder)}"


def how_to_continue(folder: Path) -> str:
    command = command_text(["reflectionflow", "run", "--out", str(folder), "--resume"])
    return f"Continue with: {command}"


def say(text: str) -> None:
    sys.stderr.write(f"{printable(text)}\n")
