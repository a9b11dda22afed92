"""`reflectionflow run --prompts FILE`: many prompts that share one budget.

Each prompt is a run in its own folder, with its own plan or draft prompt if the strategy needs one.
DIR/batch.json has the request: a Run whose prompt is all prompts, one per line, and whose budget is
shared. All results are in the folders, so an interrupted batch continues from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..archive import HISTORY, PAGE, RUN, Run, files, open_archive, read_recording
from ..archive.run_file import load_run
from ..choice import ActorChoice
from ..protocols import Actors
from ..record import SHARED, Cost, History, InputError
from ..report.overview import overview_page, overview_text, row_of
from ..report.words import counted, settings_text
from ..search import (
    UnjudgedError,
    check_search,
    count_to_judge_again,
    is_over,
    left_unjudged_text,
    trailing_unjudged,
    would_continue,
)
from ..search.budget import limit_calls
from ..search.checks import check_understood, planned_pictures
from ..search.portfolio import Standing, play_round, portfolio, standing_of
from ..settings import Budget
from ..texts import TextError, decode_text
from ..vlm.named import HUB_ID
from .ahead import rest_of_batch
from .judging import check_judge, knowing_errors, say_unused_errors, with_errors_of
from .outcome import CommandOutcome
from .preparing import (
    Author,
    author_of,
    continuing,
    expected_start,
    lacks_text,
    text_to_write,
    write_text,
)
from .reporting import as_record, spent_of, write_reports
from .run import (
    INTERRUPTED,
    UNJUDGED,
    BuildActors,
    asked_for,
    check_budget,
    check_resumable,
    check_same,
    folder_of,
    how_to_continue,
    say,
)
from .screen import Screen, best_so_far, quieten_libraries, short_score
from .unloaded import check_rules, has_known_costs, said_later, unloaded_actors, unloaded_author

BATCH, OVERVIEW = "batch.json", "overview.html"
ONE_PROMPT_ONLY = ("prompt", "draft_prompt", "stages", "ask")


@dataclass
class Folder:
    """The search of one prompt; its pictures are in memory only while it is running.

    Its `author` writes when the search first runs, and the text is kept with the run.
    """

    path: Path
    run: Run
    author: Author | None
    actors: Actors
    screen: Screen
    standing: Standing
    again: int = 0  # its last pictures, which could not be judged

    def play(self, budget: Budget) -> Iterator[History]:
        with open_archive(self.path, resume=True) as archive:
            run = continuing(self.run, archive.run, self.author)
            settings = replace(run.settings, budget=budget)
            if self.again:
                again = count_to_judge_again(archive.history, settings, self.actors)
                if not again:
                    self.screen.say(f"{self.path.name}: {left_unjudged_text(archive.history)}")
                    return
                archive.drop_last(again)
                self.again = 0
            past = archive.history
            self.actors.verifier.verify(run.prompt, [])  # its price is now that of this prompt
            if self.author and lacks_text(run, self.author.setting, past):
                if not self._affordable(budget):
                    return
                run, spent, words = write_text(run, self.author, budget)
                past = past.charged(spent)
                self.screen.say(f"{self.path.name}: {words}")
            archive.begin(run)
            settings = replace(run.settings, budget=budget)
            history = past
            try:
                for history in play_round(run.prompt, settings, self.actors, past, self.screen):
                    archive.append(history)
                    yield history
            except UnjudgedError as error:
                self.screen.say(f"{self.path.name}: {error}")
                raise
            finally:
                self.standing = standing_of(history, run.settings, self.actors)

    def _affordable(self, budget: Budget) -> bool:
        """True if the budget covers the author's text and a picture after it."""
        settings, past = expected_start(self.run, self.author)
        return not is_over(past, replace(settings, budget=budget), self.actors)


def is_batch(given: Mapping[str, Any]) -> bool:
    """Whether the options ask for a batch, or the folder has one."""
    folder = Path(given["out"])
    with files.reading(folder):
        return "prompts" in given or (folder / BATCH).is_file()


def run_batch(given: Mapping[str, Any], build_actors: BuildActors) -> CommandOutcome:
    """Searches all prompts, or continues them, and writes the overview."""
    check_batch_options(given)
    folder = folder_of(given)
    with _opened(folder, given.get("resume", False)) as recorded:
        choice, asked = asked_for_batch(given, folder, recorded)
        quieten_libraries(downloads=HUB_ID.fullmatch(choice.model) is not None)
        if has_known_costs(choice):
            with said_later():
                _, unloaded = unloaded_actors(given, choice, asked, recorded)
            for run in runs_of(asked):
                if choice.model != "miniature":  # whose rules are soon asked themselves
                    check_rules(run.prompt, choice, run.settings)
                check_prompt(run, asked.settings.budget, unloaded_author(asked, choice), unloaded)
        asked = with_errors_of(check_judge(choice, asked, given), recorded)
        say_unused_errors(asked, choice)
        actors = knowing_errors(build_actors(choice, asked.settings), choice, asked, given)
        author = author_of(asked, choice)
        with limit_calls(asked.settings.budget):
            for run in runs_of(asked):
                check_prompt(run, asked.settings.budget, author, actors)
                check_understood(run.prompt, run.settings, actors)
                if author and not author.actor.calls:
                    author.write(run.prompt)
        runs = named_runs(asked)
        rest = rest_of_batch(folder, asked, runs, author, actors, recorded is not None)
        check_budget(given, folder, rest.spent)
        files.replace_file(folder / BATCH, asked.dump())
        say(rest.text)
        return _search(folder, asked, runs, author, actors, rest.most)


def check_batch_options(given: Mapping[str, Any]) -> None:
    """Raises InputError for an option that is for a single run."""
    for name in ONE_PROMPT_ONLY:
        if name in given:
            what = "A prompt" if name == "prompt" else f"--{name.replace('_', '-')}"
            other = "leave out --prompts" if "prompts" in given else "choose another folder"
            raise InputError(
                f"{what} is for a single run, but {given['out']} is for many prompts. Leave it "
                f"out, or {other}."
            )


def asked_for_batch(
    given: Mapping[str, Any], folder: Path, recorded: Run | None
) -> tuple[ActorChoice, Run]:
    """Like `asked_for`; raises InputError for what the batch in `folder` cannot continue with."""
    prompts = {"prompt": read_prompts(Path(given["prompts"]))} if "prompts" in given else {}
    choice, asked = asked_for({**given, **prompts}, recorded)
    if recorded:
        _check_same_prompts(folder, recorded, asked)
        check_resumable(folder, recorded, asked)
        _check_same_texts(folder, recorded, asked)
    return choice, asked


def report_batch(folder: Path) -> CommandOutcome:
    """Rebuilds the overview and the reports of all prompts, also while they are under way."""
    return _report(folder, load_run(folder / BATCH))


def read_prompts(path: Path) -> str:
    """The prompts of a file, one per line, without empty lines and repetitions."""
    with files.reading(path):
        data = path.read_bytes()
    try:
        lines = decode_text(data).split("\n")
    except TextError as error:
        raise InputError(f"{path} cannot be used: {error.reason}. Save it as UTF-8.") from error
    written_down = [line.strip() for line in lines if line.strip()]
    prompts = dict.fromkeys(written_down)
    if not prompts:
        raise InputError(f"{path} has no prompts. Write one on each line.")
    if again := len(written_down) - len(prompts):
        repeated = counted(again, "line repeats", "lines repeat")
        say(f"In {path} {repeated} an earlier one; each prompt is painted once.")
    return "\n".join(prompts)


def runs_of(batch: Run) -> list[Run]:
    """The runs of a batch, which share its budget and have none of their own."""
    settings = replace(batch.settings, budget=Budget())
    return [replace(batch, prompt=p, settings=settings) for p in batch.prompt.split("\n")]


def named_runs(batch: Run) -> dict[str, Run]:
    """Those runs by the names of their folders, such as "001-a-red-cube"."""
    named = {}
    for number, run in enumerate(runs_of(batch), start=1):
        words = re.sub(r"[^a-z0-9]+", "-", run.prompt.lower()).strip("-")[:40].rstrip("-")
        named[f"{number:03}-{words}".rstrip("-")] = run
    return named


@contextmanager
def _opened(folder: Path, resume: bool) -> Iterator[Run | None]:
    """Locks a batch's folder and yields its recorded request; removes a new one left empty."""
    check_free(folder, resume)
    existed = folder.exists()
    files.make_folder(folder)
    try:
        with files.locked(folder):
            files.sweep(folder, BATCH)
            yield recorded_batch(folder)
    finally:
        if not existed:
            with suppress(OSError):  # not empty
                folder.rmdir()


def recorded_batch(folder: Path) -> Run | None:
    with files.reading(folder):
        return load_run(folder / BATCH) if (folder / BATCH).is_file() else None


def check_free(folder: Path, resume: bool) -> None:
    with files.reading(folder):
        if (folder / RUN).exists():
            raise InputError(f"{folder} holds the run of one prompt. Choose another folder.")
        if (folder / BATCH).exists() and not resume:
            raise InputError(
                f"{folder} already holds a batch. Add --resume to continue it, or choose another "
                "folder."
            )


def check_prompt(run: Run, budget: Budget, author: Author | None, actors: Actors) -> None:
    """Raises InputError for a prompt that cannot be searched with these settings and actors."""
    settings, past = expected_start(run, author)
    check_search(run.prompt, replace(settings, budget=budget), actors, past)


def _check_same_texts(folder: Path, recorded: Run, asked: Run) -> None:
    if text_to_write(recorded) != text_to_write(asked):
        raise InputError(
            f"{folder} holds a batch without --think-first. "
            "Leave out --think-first to continue it, or choose another folder."
        )


def _check_same_prompts(folder: Path, recorded: Run, asked: Run) -> None:
    if recorded.prompt != asked.prompt:
        raise InputError(
            f"{folder} holds a batch of other prompts. "
            "Leave out --prompts to continue it, or choose another folder."
        )


def _search(
    folder: Path,
    asked: Run,
    runs: Mapping[str, Run],
    author: Author | None,
    actors: Actors,
    most: int | None,
) -> CommandOutcome:
    budget, status, error = asked.settings.budget, 0, ""
    most = planned_pictures(asked.settings) * len(runs) if most is None else most
    with Screen(min(most, budget.images or most)) as screen:
        searches = [
            _begun(folder / name, run, author, actors, screen) for name, run in runs.items()
        ]
        done = sum(search.standing.cost.images for search in searches)
        try:
            for index, history in portfolio(searches, budget):
                done += 1
                screen.advance(done, f"prompt {index + 1}", _newest(history))
        except KeyboardInterrupt:
            status, error = INTERRUPTED, f"Stopped.\n{how_to_continue(folder)}"
        except UnjudgedError as unjudged:
            status, error = UNJUDGED, f"reflectionflow: {unjudged}\n{how_to_continue(folder)}"
        except Exception:
            say(how_to_continue(folder))
            raise
    shared = "" if error or budget == Budget() else SHARED
    return replace(_report(folder, asked, shared), status=status, error=error)


def _newest(history: History) -> str:
    *_, newest = history
    return f"{short_score(newest)}, {best_so_far(history)}: {newest.prompt}"


def _begun(path: Path, run: Run, author: Author | None, actors: Actors, screen: Screen) -> Folder:
    recording = read_recording(path)
    for notice in recording.notices:
        screen.say(f"{path.name}: {notice}")
    run = continuing(run, recording.run, author)
    if recording.run:
        check_same(path, recording.run, run)
    again = trailing_unjudged(recording.history)
    actors.verifier.verify(run.prompt, [])  # its price is now that of this prompt
    standing = standing_of(recording.history.without_last(again), run.settings, actors)
    return Folder(path, run, author, actors, screen, standing, again)


def _report(folder: Path, batch: Run, ended: str | None = None) -> CommandOutcome:
    """Writes the overview and the reports of all runs; at the end of a batch only of those that
    have new pictures.

    What `ended` the runs that would continue is recorded with them then; None is not the end.
    """
    rows, records = [], []
    for name, run in named_runs(batch).items():
        recording = read_recording(folder / name)
        history, known = recording.history, recording.run or run
        if len(history) and ended is not None:
            history = _ended(folder / name, known, history, ended)
        rows.append(row_of(run.prompt, name, history))
        records.append(as_record(folder / name, known, history))
        changed = ended is None or history is not recording.history or _grew(folder / name)
        if len(history) and changed:
            write_reports(folder / name, known, history)
    about = settings_text(batch.settings, str(batch.actors.get("model", "")))
    page = overview_page(rows, about)
    files.replace_file(folder / OVERVIEW, page.encode("utf-8", "replace"))
    text = f"{overview_text(rows)}Overview: {folder / OVERVIEW}\n"
    data = {
        "folder": str(folder),
        "overview": str(folder / OVERVIEW),
        "prompts": records,
        "spent": spent_of(sum((row.cost for row in rows), Cost())),
        "budget": asdict(batch.settings.budget),
    }
    return CommandOutcome(text=text, data=data, page=folder / OVERVIEW)


def _ended(path: Path, run: Run, history: History, limit: str) -> History:
    """The history with the limit that ended it, if it would continue; a new one is recorded."""
    ended = limit if would_continue(history, run.settings) else ""
    if ended == history.ended:
        return history
    with open_archive(path, resume=True, known=history) as archive:
        archive.append(replace(archive.history, ended=ended))
        return archive.history


def _grew(folder: Path) -> bool:
    page = folder / PAGE
    return not page.exists() or page.stat().st_mtime < (folder / HISTORY).stat().st_mtime
