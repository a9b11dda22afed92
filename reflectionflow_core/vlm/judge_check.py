"""The judge check before a search: a judge that is down or blind ends it before anything is
painted.

Findings about a judge that sees are saved by profile and model, so that the next search asks
nothing. A judge that was blind or did not answer is asked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..judge_errors import JudgeErrors, errors_line
from ..protocols import SILENT, Progress
from ..record import InputError
from .check_modes import MODES, OFF, STRICT
from .endpoint import Endpoint
from .interface import Vlm
from .kept import KeptTable
from .kept_errors import measured_errors
from .probe import JudgeFindings, findings_from, probe_by_questions, probe_texts
from .profiles import Profile
from .server_probe import probe_server

FILE = "judges.json"
ERRORS = "errors"  # key of JudgeErrors.data in the recorded findings
UNUSED = "Several verifiers judge, so the known errors of one are not used."
INSIST = "To search all the same, give --judge-check warn"
OF_TEXTS = " (texts)"  # added to the key of a model that was shown no pictures
COLUMN = 20  # width of the names in the list of findings


@dataclass(frozen=True, slots=True)
class JudgeChecker:
    """How judges are checked: `mode` is strict (an objection ends the search), warn or off.

    Findings are saved in `folder`/judges.json; `insist` says how to search all the same.
    """

    folder: Path
    mode: str = STRICT
    insist: str = INSIST

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(
                f"The judge check {self.mode!r} does not exist. Choose one of: {', '.join(MODES)}."
            )

    def __call__(
        self, vlm: Vlm, key: str, progress: Progress = SILENT, shown: bool = True
    ) -> tuple[JudgeFindings | None, list[str]]:
        """The findings about a judge, and notices for the user; saved findings need no question.

        `key` identifies profile and model, or the weights. A model that is not `shown` pictures is
        asked for one text only. InputError for an objection in strict mode, and if pictures may not
        be sent.
        """
        if self.mode == OFF:
            return None, []
        if kept := self.kept(key, shown):
            return kept, []
        found = probe(vlm, progress) if shown else probe_texts(vlm, progress)
        if why := objection(found, shown):
            if self.mode == STRICT:
                raise InputError(f"{why} {self.insist}.")
            return found, [why]
        return found, list(filter(None, [self.keep(key if shown else key + OF_TEXTS, found)]))

    def kept(self, key: str, shown: bool = True) -> JudgeFindings | None:
        """Saved findings about a model without objections, or None."""
        table = self._table.read()
        for name in (key,) if shown else (key, key + OF_TEXTS):
            found = findings_from(table.get(name))
            if found is not None and not objection(found, shown):
                return found
        return None

    def keep(self, key: str, found: JudgeFindings) -> str:
        """Saves findings; returns a notice if that fails, otherwise ""."""
        return self._table.put(key, found.data())

    def measured(self, key: str, verifier: str) -> tuple[dict[str, Any], list[str]]:
        """The judge's measured errors for a run's record ({}: none), and notices for the user."""
        errors, notices = measured_errors(self.folder, key, verifier)
        return ({} if errors is None else {ERRORS: errors.data()}), notices

    @property
    def _table(self) -> KeptTable:
        return KeptTable(self.folder / FILE)


def profile_key(profile: Profile) -> str:
    """Profile, model and a digest of the address, which is not shown."""
    address = hashlib.sha256(profile.base_url.encode()).hexdigest()[:12]
    return f"endpoint:{profile.name} {profile.model} {address}"


def probe(vlm: Vlm, progress: Progress = SILENT) -> JudgeFindings:
    """The findings about a model.

    Raises what `progress.check` raises, and InputError if pictures may not be sent.
    """
    if isinstance(vlm, Endpoint):
        return probe_server(vlm, progress)
    return probe_by_questions(vlm, progress)


def objection(found: JudgeFindings, shown: bool = True) -> str:
    """Why this model should not judge (or answer texts, if not `shown` pictures); "" if fine."""
    if found.problem:
        return found.problem
    if shown and not found.sees:
        return (
            "The judge is blind: it cannot tell a red picture from a blue one. Choose a model "
            "that sees pictures, or start its server with the vision part."
        )
    return ""


def findings_text(found: JudgeFindings) -> str:
    """The findings, one per line."""
    return "".join(f"{name:<{COLUMN}}{fact}\n" for name, fact in _facts(found))


def findings_line(found: JudgeFindings) -> str:
    """The findings on one line for reports."""
    return ", ".join(f"{name} {fact}" for name, fact in _facts(found))


def judge_text(recorded: Mapping[str, object]) -> str:
    """The recorded findings and measured errors of a run on one line; "" if there are none."""
    facts = {name: value for name, value in recorded.items() if name != ERRORS}
    found = findings_from(facts) if facts else None
    return ". ".join(filter(None, [findings_line(found) if found else "", _measured(recorded)]))


def unused_errors(recorded: Mapping[str, object], several: bool) -> str:
    """A note if errors are recorded but `several` verifiers (or a gated one) judge, else ""."""
    return UNUSED if several and ERRORS in recorded else ""


def recorded_errors(recorded: Mapping[str, object]) -> JudgeErrors | None:
    """The recorded errors of a run's judge, or None; InputError for another version's."""
    data = recorded.get(ERRORS)
    return None if data is None else JudgeErrors.from_data(data)


def _measured(recorded: Mapping[str, object]) -> str:
    try:
        errors = recorded_errors(recorded)
    except InputError as error:  # a report is still possible
        return str(error)
    return errors_line(errors) if errors else ""


def _facts(found: JudgeFindings) -> Iterator[tuple[str, str]]:
    if found.problem:
        yield "problem", found.problem
        yield "thinks", _said(found.thinks)
        return
    if found.sees is None:  # no pictures were shown
        yield "answers texts", "yes"
        yield "thinks", _said(found.thinks)
        return
    sees = "yes" if found.sees else "no, it is blind"
    sure = "" if found.sure is None else f" ({found.sure:.0%} sure of two plain colours)"
    yield "sees", f"{sees}{sure}"
    yield "thinks", _said(found.thinks)
    yield "log-probabilities", _log_probabilities(found.log_probabilities)
    yield "JSON schema", {None: "unknown", "": "not kept to"}.get(found.schema, str(found.schema))
    yield "answers a request", "unknown" if found.answers is None else _at_least(found.answers, 2)
    yield "pictures a question", _at_least(found.pictures or 1, 4)
    if found.seconds is not None:
        yield "seconds a question", f"{found.seconds:.2g}"
    if found.price is not None:
        yield "price a question", f"{found.price:.2g} (as the server counts it)"


def _said(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[value]


def _log_probabilities(count: int | None) -> str:
    if count is None:
        return "unknown"
    if count < 0:
        return "of all tokens"
    return f"of {count} tokens" if count else "none"


def _at_least(number: int, tried: int) -> str:
    """A number, which is a lower limit if no more were tried."""
    return f"{number} or more" if number >= tried else str(number)
