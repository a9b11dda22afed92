"""Every verifier, writer, evolver, thinker, planner and inspector that asks a model, against every
scripted host, with an oracle that sees, is blind, is slow, or thinks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fakes import Watcher
from host_table import table, written
from PIL import Image
from vlm_asking import FAST, KEY, endpoint_of
from vlm_hosts import HOSTS, Host, as_if
from vlm_server import MODEL, VlmServer

from reflectionflow_core import registry
from reflectionflow_core.record import Candidate, Request, Stage, Verdict
from reflectionflow_core.registry import ActorChoice, Row
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.judge_check import objection, probe
from reflectionflow_core.vlm.profiles import Profile

PROMPT = "a red cup"
RED, BLUE = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
STAGE = Stage("add a cup", PROMPT, ("a cup",))
NO_LABELS = "gives no probabilities of tokens"
Act = Callable[[Any, Watcher], None]


def flawed() -> list[Request]:
    """A correction of a red picture, which lacks something; a second look finds its texts right."""
    verdict = Verdict(0.1, False, unmet=("missing a cup",))
    return [Request(0, parent=Candidate(RED, PROMPT, 0, verdict), corrects=True)]


def verify(verifier: Any, watch: Watcher) -> None:
    red, blue = verifier.verify(PROMPT, [RED, BLUE], watch)
    if any(NO_LABELS in (verdict.failure or "") for verdict in (red, blue)):
        return  # said in words, which is all that can be done without log-probabilities
    assert red.judged and blue.judged, (red, blue)
    assert red.score > blue.score


def reflect(writer: Any, watch: Watcher) -> None:
    (text,) = writer.reflect(PROMPT, flawed(), watch)
    assert "cup" in text


def evolve(evolver: Any, watch: Watcher) -> None:
    (text,) = evolver.evolve(PROMPT, flawed(), watch)
    assert text == "a red cup, large"


def expand(thinker: Any, watch: Watcher) -> None:
    assert thinker.expand(PROMPT, watch).startswith(PROMPT)


def plan(planner: Any, watch: Watcher) -> None:
    assert planner.plan(PROMPT, watch).stages


def inspect(inspector: Any, watch: Watcher) -> None:
    assert len(inspector.inspect(PROMPT, [STAGE], [RED], watch)) == 1


ROWS: dict[Act, dict[str, Row[Any]]] = {
    verify: registry.VERIFIERS,
    reflect: registry.WRITERS,
    evolve: registry.EVOLVERS,
    expand: registry.THINKERS,
    plan: registry.PLANNERS,
    inspect: registry.INSPECTORS,
}
ACTORS = [
    (act, name, row) for act, rows in ROWS.items() for name, row in rows.items() if row.asks_vlm
]


def test_nobody_who_asks_a_model_is_left_out() -> None:
    assert {name for _, name, _ in ACTORS} == {
        *("checklist", "rubric", "yes-no", "tournament", "yes-no-nvila"),
        *("vlm", "reflection-generator", "two-lists", "vlm-strict"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sees", "slow", "thinking"])
@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_every_actor_works_with_every_host(host: Host, kind: str) -> None:
    with VlmServer(as_if(host, kind)) as server:
        endpoint = endpoint_of(server)
        for act, name, row in ACTORS:
            watch = Watcher()
            act(row.build(ActorChoice(verifier=name), endpoint), watch)
            assert watch.said == [], name
    assert not server.errors


@pytest.mark.parametrize("kind", ["sees", "blind"])
@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_the_check_knows_who_is_blind_on_every_host(host: Host, kind: str) -> None:
    with VlmServer(as_if(host, kind)) as server:
        found = probe(Endpoint(Profile("mine", server.url, KEY, MODEL), FAST))
    assert not server.errors
    assert bool(objection(found)) is (kind == "blind"), found


@pytest.mark.slow
def test_the_table_of_hosts_is_current() -> None:
    assert written() == list(table())
