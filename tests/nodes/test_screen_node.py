"""Verifier Ensemble with a screen: the verifiers look at the best pictures of a batch only."""

from __future__ import annotations

import pytest
from comfy_graphs import drafts_graph, link, loop_graph, ours, scored, search_options, text_of
from comfy_server import ComfyServer

LOADERS = {
    "exact": ours("VerifierLoader", verifier="exact", error=0.0),
    "cheap": ours("VerifierLoader", verifier="noisy", error=0.3),
}
WEIGHTS = {f"weight_{n}": 1.0 for n in range(1, 5)}


def ensemble(**given: object):
    wires = {"verifier_1": link("exact"), "screen": link("cheap"), **WEIGHTS}
    return ours("VerifierEnsemble", **{**wires, **given})


def test_the_verifier_looks_at_the_shortlist_only(comfy: ComfyServer) -> None:
    graph = drafts_graph(4, batch_size=4) | LOADERS
    graph |= {"verifier": ensemble(shortlist=1), "scores": scored("drafts")}
    graph["report"] = text_of(link("scores", 4))
    report = comfy.succeed(graph).text("report")
    assert report.count("-0.") == 3, report


@pytest.mark.parametrize("gate", [False, True])
def test_a_loop_behind_a_screen_is_refused_where_it_leaves_nothing_out(
    comfy: ComfyServer, gate: bool
) -> None:
    graph = loop_graph(depth=1, width=2, drafts=4) | LOADERS
    graph["verifier"] = ensemble(shortlist=2, **({"gate": link("exact")} if gate else {}))
    run = comfy.run(graph)
    assert "A shortlist of 2 excludes nothing, since at most 1 of" in run.error
    graph["options"] = search_options(batch_size=4)
    graph["loop"]["inputs"]["options"] = link("options")
    assert comfy.succeed(graph).text("report")
