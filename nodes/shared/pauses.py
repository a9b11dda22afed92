"""Open pauses of searches: what is asked in the browser, and who may answer.

A pause has a secret id, which is sent to the browsers that may answer, and needed to answer. These
are all browsers if only this machine can reach ComfyUI, otherwise only the one that queued the
prompt.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import comfy.model_management as mm
from comfy.cli_args import args
from server import PromptServer

from ...reflectionflow_core.feedback import Feedback
from ...reflectionflow_core.record import InputError
from ...reflectionflow_core.report import counted
from ...reflectionflow_core.report.pause import answer_of, pause_data
from ...reflectionflow_core.search import Pause
from .progress import NodeProgress
from .schema import check_texts
from .stopping import STOPPING

OPENED, OVER, WAITING = (f"reflectionflow.{name}" for name in ("pause", "pause_over", "waiting"))
PATIENCE = 30.0  # seconds for a browser to say that it shows the pause
LOOK = 0.1  # seconds between two looks at Cancel


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
        seconds = max(0, round(self.until - monotonic()))
        return {"id": self.id, "node": self.node, "seconds": seconds} | pause_data(self.pause)

    def take(self, given: Any) -> None:
        """Takes an answer as the panel sends it, once; raises InputError for one that is none."""
        if self.done.is_set():
            raise InputError("Somebody has answered already, in another browser.")
        said, stops = answer_of(given, self.pause)
        if (fine := check_texts((said.prompt, *said.reflections.values()))) is not True:
            raise InputError(str(fine))
        self.answer, self.stops = said, stops
        self.done.set()


class Pauses:
    """All open pauses, by their ids."""

    def __init__(self) -> None:
        self._open: dict[str, OpenPause] = {}

    def find(self, id: str) -> OpenPause | None:
        return self._open.get(id)

    def of(self, client: str) -> list[OpenPause]:
        """Those that a browser may answer."""
        return [one for one in list(self._open.values()) if may_answer(client, one)]

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
        after = "goes on as planned" if asked.pause.requests else "ends here"
        return f"Nobody answered, so the search {after}."
    parts = [f"picked picture {said.picked + 1}"] if said.picked is not None else []
    parts += [f"vetoed {counted(len(said.vetoed), 'picture')}"] if said.vetoed else []
    parts += ["said what to change"] if said.reflections else []
    parts += ["said where"] if said.places else []
    if parts:
        return f"You {', '.join(parts)}."
    return f"You let the search {'go on as planned' if asked.pause.requests else 'end here'}."


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
