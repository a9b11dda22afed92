"""What a person said during a run, and what they are to be asked about, as their files hold it."""

from __future__ import annotations

from pathlib import Path

from ..feedback import Feedback
from ..record import Cost, History, InputError
from ..texts import parse_json, reason_of

RESTORE = "Restore it from a backup, or start in another folder; nothing was changed."


def asking_cost(history: History) -> Cost:
    """The cost of texts written before a person was asked about the latest picture."""
    said = (*history.feedback, *((history.proposed,) if history.proposed else ()))
    return Cost(vlm_calls=sum(each.calls for each in said if each.after == len(history)))


def read_feedback(path: Path, pictures: int) -> tuple[tuple[Feedback, ...], tuple[str, ...]]:
    """What a person said, and a notice about a line that was cut off."""
    *lines, torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
    answers: list[Feedback] = []
    for line in lines:
        try:
            said = Feedback.from_data(parse_json(line))
            if not (answers[-1].after if answers else 0) < said.after <= pictures:
                raise ValueError(f"it speaks of {said.after} pictures")
        except ValueError as error:
            number = len(answers) + 1
            raise InputError(
                f"Line {number} of {path} is damaged: {reason_of(error)}. {RESTORE}"
            ) from error
        answers.append(said)
    dropped = f"The last line of {path.name} was cut off; it is ignored."
    return tuple(answers), (dropped,) if torn else ()


def read_proposed(path: Path, history: History) -> Feedback | None:
    """What a person is to be asked about; None if there is nothing, or it has been answered."""
    try:
        said = Feedback.from_data(parse_json(path.read_bytes())) if path.exists() else None
    except ValueError:  # it is written again
        return None
    answered = any(one.after == len(history) for one in history.feedback)
    return said if said and said.after == len(history) and not answered else None
