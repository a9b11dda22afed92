"""Keeps finished rounds, and the pictures of stopped ones, in memory.

ComfyUI's cache may drop them at any time (--cache-none, --cache-lru, or when memory is short). With
this, a deeper loop paints only its new rounds with any cache setting, and Run continues after
Cancel.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from comfy_execution.graph_utils import is_link

from ...reflectionflow_core.record import History
from ...reflectionflow_core.settings import Budget
from .graph import ancestry
from .sockets import SearchActors, SearchState, bytes_of

MOST_BYTES = 2**30  # of pictures; the searches unused for longest are forgotten first


@dataclass(frozen=True)
class KeptRound:
    """What a round has produced: all of `state`, or, if it was stopped, the pictures so far.

    For a batch of prompts it is the whole search of one prompt; `steps` are its histories, each one
    picture longer.
    """

    state: SearchState
    finished: bool
    steps: tuple[History, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all pictures with `steps`, otherwise of the latest round."""
        if self.steps:
            return bytes_of(self.state.history)
        return self.state.get_ram_usage()


class KeptRounds:
    """Rounds by what they depend on; the least recently used are dropped first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._rounds: OrderedDict[str, KeptRound] = OrderedDict()
        self._seeds: dict[str, int] = {}
        self._lock = threading.Lock()  # the server's thread lists and forgets

    def find(self, key: str | None) -> KeptRound | None:
        with self._lock:
            if key is None or key not in self._rounds:
                return None
            self._rounds.move_to_end(key)
            return self._rounds[key]

    def keep(
        self,
        key: str | None,
        state: SearchState,
        finished: bool = True,
        steps: Sequence[History] = (),
    ) -> None:
        if key is None:
            return
        with self._lock:
            self._rounds[key] = KeptRound(state, finished, tuple(steps))
            self._rounds.move_to_end(key)
            size = sum(kept.size for kept in self._rounds.values())
            while size > self.most_bytes and len(self._rounds) > 1:
                size -= self._rounds.popitem(last=False)[1].size

    def seed(self, key: str | None, drawn: int) -> int:
        """The seed that was first drawn for `key`, or else `drawn`."""
        if key is None:
            return drawn
        with self._lock:
            return self._seeds.setdefault(key, drawn)

    def forget(self) -> None:
        with self._lock:
            self._rounds.clear()
            self._seeds.clear()

    def listed(self) -> list[dict[str, Any]]:
        """Each search that is kept: its prompt, pictures, rounds and bytes."""
        with self._lock:
            rounds = list(self._rounds.values())
        deepest: dict[int, KeptRound] = {}
        sizes: dict[int, int] = {}
        for kept in rounds:
            first = id(kept.state.history.rounds[0][0])  # all rounds of a search share it
            sizes[first] = sizes.get(first, 0) + kept.size
            if first not in deepest or len(kept.state.history) > len(deepest[first].state.history):
                deepest[first] = kept
        return [
            {
                "prompt": kept.state.prompt,
                "pictures": len(kept.state.history),
                "rounds": len(kept.state.history.rounds),
                "best": kept.state.history.best.score,
                "bytes": sizes[first],
            }
            for first, kept in deepest.items()
        ]


ROUNDS = KeptRounds()


def round_key(
    state: SearchState, handles: SearchActors, node_id: str, dynprompt: Any
) -> str | None:
    """A digest of all that a round depends on: settings, weights, and every node before it.

    None if a node before it may give another result every time. The nodes count too, because a node
    may change how a model paints without changing a weight.
    """
    graph = ancestry(dynprompt, node_id)
    if graph is None:
        return None
    chosen = {name: str(value) for name, value in handles.chosen.items()}
    said = [one.data() for one in state.history.feedback]
    known = [graph, chosen, dict(handles.identity), _so_far(state.history), said, state.save]
    # A prompt may be one of a list that a wire brings, and the seed may have been drawn.
    known += [state.prompt, str(state.settings)]
    return _key_of(known)


def search_key(state: SearchState, wires: Mapping[str, Any], dynprompt: Any) -> str | None:
    """A digest of all that the pictures of one prompt of a batch depend on; None as for a round.

    `wires` are the actors' inputs as in the graph. Depth and budget only limit how far a search
    goes, so they do not count.
    """
    before = {name: wire for name, wire in wires.items() if is_link(wire)}
    graph = {name: [ancestry(dynprompt, wire[0]), wire[1]] for name, wire in before.items()}
    if any(digest is None for digest, _ in graph.values()):
        return None
    settings = replace(state.settings, depth=0, budget=Budget())
    chosen = {name: str(value) for name, value in state.chosen.items()}
    return _key_of(["batch", state.prompt, str(settings), graph, chosen, dict(state.identity)])


def _key_of(known: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def _so_far(history: History) -> list[Mapping[str, Any]]:
    return [
        {"seed": str(c.seed), "prompt": c.prompt, "score": str(c.score), "words": c.reflection}
        for c in history
    ]
