"""A reflection writer without a model: turns a verdict's unmet requirements into edits."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..protocols import SILENT, Progress
from ..record import Candidate, Request

# Faults that are commands already (from OCR or detectors) are used as they are.
_COMMAND = re.compile(r"(?:add|erase|mirror|move|recolor|remove|replace|rotate|turn|write) .+")
_COLOUR = (
    r"(?:(?:light|dark|bright|pale|deep)[ -])?(?:red|orange|yellow|green|blue|purple|pink|brown"
    r"|black|white|gr[ae]y|gold(?:en)?|silver|beige|cream|turquoise|cyan|teal|navy|violet|magenta"
    r"|maroon)"
)
_SEEN = r"(?:visible|present|there|shown|seen|depicted|included|in the (?:picture|image|scene))"
# The first match wins; without a match, the edit quotes the verifier.
_NOT = r"(?:is|are)(?: not|n['\u2019]t)"
_THE = r"(?:the |an? )?"
_ARTICLE = re.compile(r"^(?:The|An?) ")
_EDITS = [
    (re.compile(pattern, re.IGNORECASE), edit)
    for pattern, edit in (
        (r"missing:? (.+)", r"add \1"),
        (rf"{_THE}extra (.+)", r"remove the \1"),
        (r"(.+) must not be (\w+)", r"give the \1 another color"),
        (
            rf"{_THE}(.+) {_NOT} (?:(?:on|to) the )?"
            r"((?:left|right) of .+|above .+|below .+|between .+)",
            r"move the \1 \2",
        ),
        (r"(.+) is not (small|big)", r"make the \1 \2"),
        (rf"there {_NOT} (an? .+)", r"add \1"),
        (rf"{_THE}(.+) is not (an? .+)", r"turn the \1 into \2"),
        (rf"{_THE}(.+) {_NOT} ({_COLOUR})", r"recolor the \1 \2"),
        (rf"((?:the|an?) .+) (?:{_NOT} {_SEEN}|(?:is|are) missing)", r"add \1"),
        (rf"(.+) (?:is(?: not|n['\u2019]t) {_SEEN}|is missing)", r"add the \1"),
        (rf"(.+) (?:are(?: not|n['\u2019]t) {_SEEN}|are missing)", r"add \1"),
    )
]


def edit_for(unmet: str) -> str:
    """The edit, as a command, for one unmet requirement."""
    fault = _ARTICLE.sub(lambda article: article[0].lower(), unmet.rstrip(" ."))
    if _COMMAND.fullmatch(unmet):
        return unmet
    for pattern, edit in _EDITS:
        if found := pattern.fullmatch(fault):
            return found.expand(edit)
    return f"fix this: {unmet}"


class TemplateWriter:
    """Joins as many edits as fit into `max_words`, at least one, with "and".

    The reflection is empty for a candidate without unmet requirements.
    """

    calls = 0

    def __init__(self, max_words: int = 10) -> None:
        self.max_words = max_words

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        """In context, faults that earlier reflections failed to fix come last."""
        del prompt, progress  # no progress: takes no time
        return [self.write(_faults(request)) for request in requests]

    def write(self, unmet: Sequence[str]) -> str:
        text = ""
        for edit in map(edit_for, unmet):
            longer = f"{text} and {edit}" if text else edit
            if text and len(longer.split()) > self.max_words:
                break
            text = longer
        return text


def _faults(request: Request) -> Sequence[str]:
    unmet = request.required_parent.verdict.unmet
    return untried(unmet, [*request.context, request.required_parent]) if request.context else unmet


def untried(unmet: Sequence[str], tried: Sequence[Candidate]) -> list[str]:
    """The faults that no reflection asked to fix, otherwise the one asked for longest ago."""
    latest = {
        fault: max((i for i, c in enumerate(tried) if edit_for(fault) in c.reflection), default=-1)
        for fault in unmet
    }
    fresh = [fault for fault in unmet if latest[fault] < 0]
    return fresh or sorted(unmet, key=lambda fault: latest[fault])[:1]
