"""What editing models are asked; they do not know the corrector's `[Reflexion]`."""

from __future__ import annotations

from collections.abc import Sequence

from ..record import Candidate


def edit_text(
    prompt: str, reflection: str, broken: Sequence[str] = (), unchanged: bool = False
) -> str:
    """An instruction for editing models; it also asks to keep what an earlier edit has `broken`.

    If nothing is to change (`Request.unchanged`), it asks for the same picture.
    """
    goal = f"The picture shall show: {prompt}"
    if unchanged:
        return f"Paint the same picture again and change nothing. {goal}"
    if broken:
        goal += f". An earlier edit broke this, so keep it as it is: {'; '.join(broken)}"
    order = reflection.strip()
    if not order:
        return f"Change whatever does not fit. {goal}"
    return f"{order if order[-1] in '.!?' else order + '.'} Leave all else as it is. {goal}"


def attempts_text(earlier: Sequence[Candidate], called: str = "Picture") -> str:
    """What the pictures after the first one are, so that they are not copied; "" without any.

    `called` is what the model calls a picture.
    """
    texts = [
        f" {called} {number} is an earlier attempt that failed: "
        f"{'; '.join(picture.verdict.unmet) or 'it was not good enough'}."
        for number, picture in enumerate(earlier, start=2)
    ]
    return f"{''.join(texts)} Edit {called.lower()} 1 only." if texts else ""
