"""Open pauses of searches: what is asked in the browser, and who may answer.

A pause has an id that nobody can guess. It is sent to the browsers that may answer and is all that
they need: to every browser of a ComfyUI that only this machine can reach, and otherwise only to
the one that queued the prompt.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from time import monotonic
from typing import Any

import comfy.model_management as mm
from comfy.cli_args import args
from server import PromptServer

from ...reflectionflow_core.feedback import Feedback
from ...reflectionflow_core.pictures import PictureError, stored_picture
from ...reflectionflow_core.record import Candidate, InputError
from ...reflectionflow_core.report import counted, verdict_text
from ...reflectionflow_core.report.words import candidate_name
from ...reflectionflow_core.search import Pause
from ...reflectionflow_core.texts import usable_text
from .progress import NodeProgress
from .schema import check_texts
from .stopping import STOPPING

OPENED, OVER, WAITING = (f"reflectionflow.{name}" for name in ("pause", "pause_over", "waiting"))
PATIENCE = 30.0  # seconds for a browser to say that it shows the pause
LOOK = 0.1  # seconds between two looks at Cancel
MOST_TEXT = 2000  # characters of a person's words
MOST_BOXES = 16  # of one picture
MOST_MASK = 1024  # pixels a side
SIDE = 768  # pixels of a picture on the panel


@dataclass(eq=False)
class OpenPause:
    """One question to a person, until it is answered."""

    pause: Pause
    node: str  # on the screen
    client: str | None  # the browser that queued the prompt
    until: float  # on the clock `monotonic`
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    seen: bool = False
    answer: Feedback | None = None
    stops: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    def data(self) -> dict[str, Any]:
        """What the panel shows."""
        history, planned = self.pause.history, self.pause.planned
        pictures = list(history.placed)
        return {
            "id": self.id,
            "node": self.node,
            "round": len(history.rounds) - 1,
            "prompt": self.pause.prompt,
            "painted_from": self.pause.unchanged.prompt,
            "ends": not self.pause.requests,
            "corrects": any(request.corrects for request in self.pause.requests),
            "seconds": max(0, round(self.until - monotonic())),
            "pictures": [
                {"number": number, "name": candidate_name(*pictures[number][0]).capitalize()}
                | described(pictures[number][1])
                | {"best": pictures[number][1] is history.best, "planned": planned.get(number)}
                for number in self.pause.shown
            ],
        }

    def picture(self, number: int) -> bytes | None:
        """One of its pictures as a PNG, or None for another number."""
        if number not in self.pause.shown:
            return None
        image = list(self.pause.history)[number].image.convert("RGB")
        image.thumbnail((SIDE, SIDE))
        data = BytesIO()
        image.save(data, "PNG")
        return data.getvalue()

    def take(self, given: Any) -> None:
        """Takes an answer as the panel sends it, once; raises InputError for one that is none."""
        if self.done.is_set():
            raise InputError("Somebody has answered already, in another browser.")
        said = feedback_of(given, len(self.pause.history))
        self.pause.check(said)
        self.answer, self.stops = said, given.get("stop") is True
        self.done.set()


class Pauses:
    """All open pauses, by their ids."""

    def __init__(self) -> None:
        self._open: dict[str, OpenPause] = {}

    def find(self, id: str) -> OpenPause | None:
        return self._open.get(id)

    def of(self, client: str) -> list[OpenPause]:
        """Those that a browser may answer."""
        return [one for one in self._open.values() if may_answer(client, one)]

    def ask(self, pause: Pause, progress: NodeProgress, seconds: float) -> OpenPause:
        """Asks in the browser and waits; without an answer the pause comes back unanswered.

        Nobody is waited for where no browser shows the pause. Raises when the user cancels.
        """
        server = PromptServer.instance
        asked = OpenPause(pause, progress.node_id, server.client_id, monotonic() + seconds)
        if not can_be_shown(asked.client):
            progress.say("No browser is here to ask, so the search goes on as planned.")
            return asked
        self._open[asked.id] = asked
        try:
            show(asked)
            if not is_private():  # there the others do not see the panel, and their prompts wait
                server.send_sync(WAITING, {"seconds": round(seconds)})
            self._wait(asked, progress)
        finally:
            del self._open[asked.id]
            server.send_sync(OVER, {"id": asked.id})
        progress.say(outcome(asked))
        return asked

    def _wait(self, asked: OpenPause, progress: NodeProgress) -> None:
        progress.say("Waiting for you: choose on the panel how the search goes on.")
        patience = min(asked.until, monotonic() + PATIENCE)
        while not asked.done.wait(LOOK):
            progress.check()
            free_what_is_asked_for()
            if STOPPING.requested:
                asked.stops = True
                return
            if monotonic() > (asked.until if asked.seen else patience):
                return


PAUSES = Pauses()


def show(asked: OpenPause) -> None:
    """Sends a pause to the browsers that may answer it; they alone learn its id."""
    PromptServer.instance.send_sync(OPENED, asked.data(), None if is_private() else asked.client)


def outcome(asked: OpenPause) -> str:
    """What the person said, for the node."""
    said = asked.answer
    if asked.stops:
        return "You stopped the search, which keeps the best picture. Run goes on from here."
    if said is None:
        return "Nobody answered, so the search goes on as planned."
    parts = [f"picked picture {said.picked + 1}"] if said.picked is not None else []
    parts += [f"vetoed {counted(len(said.vetoed), 'picture')}"] if said.vetoed else []
    parts += ["said what to change"] if said.reflections else []
    parts += ["said where"] if said.places else []
    return f"You {', '.join(parts)}." if parts else "You let the search go on as planned."


def is_private() -> bool:
    """Whether only this machine can reach ComfyUI."""
    hosts = [host.strip() for host in args.listen.split(",")]
    return all(host in ("localhost", "::1") or host.startswith("127.") for host in hosts)


def may_answer(client: str, asked: OpenPause) -> bool:
    return is_private() or (asked.client is not None and client == asked.client)


def can_be_shown(client: str | None) -> bool:
    """Whether a browser may show a pause; one that reloads its page is away for a moment."""
    return client is not None or (is_private() and bool(PromptServer.instance.sockets))


def free_what_is_asked_for() -> None:
    """Unloads models when the user asks ComfyUI to, which looks only between two prompts."""
    if PromptServer.instance.prompt_queue.get_flags(reset=False).get("unload_models"):
        mm.unload_all_models()
        mm.soft_empty_cache()


def described(candidate: Candidate) -> dict[str, Any]:
    verdict = candidate.verdict
    return {
        "width": candidate.image.width,
        "height": candidate.image.height,
        "score": verdict.score,
        "passed": verdict.passed,
        "verdict": verdict_text(verdict),
        "faults": list(verdict.unmet),
        "boxes": [[seen.text, *seen.box] for seen in verdict.evidence if seen.box],
        "reflection": candidate.reflection,
    }


def feedback_of(given: Any, pictures: int) -> Feedback:
    """A panel's answer; raises InputError for texts and places that are too large, or damaged."""
    known = {"picked", "vetoed", "reflections", "places", "prompt", "stop"}
    if not isinstance(given, dict) or given.keys() - known:
        raise InputError("The answer is not one of this panel. Reload the page.")
    record = {key: value for key, value in given.items() if key != "stop" and value is not None}
    try:
        said = Feedback.from_data({**record, "after": pictures})
    except ValueError as error:
        raise InputError(f"The answer cannot be used: {error}. Reload the page.") from error
    texts = (said.prompt, *said.reflections.values())
    for text in texts:
        if len(usable_text(text, "text")) > MOST_TEXT:
            raise InputError(f"A text has {counted(len(text), 'character')}. Give {MOST_TEXT:,}.")
    if (fine := check_texts(texts)) is not True:
        raise InputError(str(fine))
    check_places(tuple(said.places.values()))
    return said


def check_places(places: Sequence[Any]) -> None:
    for place in places:
        if len(place.boxes) > MOST_BOXES:
            raise InputError(f"A picture has {len(place.boxes)} boxes. Draw at most {MOST_BOXES}.")
        if not place.mask:
            continue
        try:
            mask = stored_picture(place.mask)
        except PictureError as error:
            raise InputError(f"A mask is not a picture: {error.reason}. Brush it again.") from error
        if mask.format != "PNG" or max(mask.size) > MOST_MASK:
            raise InputError(f"A mask is not a PNG of at most {MOST_MASK} pixels. Brush it again.")
