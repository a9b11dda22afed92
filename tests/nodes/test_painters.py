"""The painter of any MODEL, compared with ComfyUI's own nodes on small random models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from comfy_graphs import PROMPT, Graph, link, loop_graph, node, ours, search_options, shown, text_of
from comfy_server import ComfyServer, Run, found_by

FAMILIES = (
    *("FLUX.1-dev", "FLUX.1-schnell", "FLUX.2-dev", "FLUX.2 klein", "FLUX.2 klein base"),
    *("Qwen-Image", "Qwen-Image Lightning", "Lumina-Image 2", "Z-Image", "Z-Image-Turbo"),
    *("Stable Diffusion 3", "Stable Diffusion XL", "Stable Diffusion 1.5", "Chroma", "Krea 2"),
    *("Anima", "ERNIE-Image", "ERNIE-Image-Turbo"),
)
LATER = ("Krea 2", "Anima", "ERNIE")  # than ComfyUI 0.8.0
CASES = (
    *(f"{family}, as its template" for family in FAMILIES),
    *("two pictures of a batch", "against a negative", "a sampler that draws noise"),
    *("a sampler with a step more", "a SAMPLER and SIGMAS", "the shift of a node before"),
    *("a shift that is asked for", "a LoRA before the node", "repainted, a flow model"),
    *("repainted, a model with unbounded noise", "a preview", "steps after a cancel"),
    *("texts read again", "identities that agree wrongly", "changes without another identity"),
    *("identities that differ wrongly", "of a family unknown here"),
    *("families named wrongly", "not refused"),
)


def found() -> dict[str, tuple[float, float]]:
    """Difference and scale of every case; in ComfyUI's own Python, without a server."""
    return found_by("native_painters.py", "--json")


@pytest.mark.parametrize("case", CASES)
def test_its_picture_is_the_one_of_comfyuis_own_nodes(case: str) -> None:
    if case not in found() and case.startswith(LATER):
        pytest.skip("this ComfyUI does not know it yet")
    off, scale = found()[case]
    assert off == 0 < scale


def test_every_case_is_looked_at() -> None:
    assert found().keys() <= set(CASES)


MODELS = {"model": link("mini", 0), "clip": link("mini", 1), "vae": link("mini", 2)}
AUTO = "as its template"
LEFT = {"cfg": 0.0, "guidance": 0.0, "shift": 0.0, "negative": "", "variant": "recognise"}
BY_TEMPLATE = {**LEFT, "sampler": AUTO, "scheduler": AUTO}
NEAR_BY = "noise, zero-order"
PAINTING = ("noise", NEAR_BY, "noise+prompt", "potential", "scouts", "paths")
CORRECTING = ("adaptive", "interleaved", "staged")


def painter_graph(strategy: str, **painting: Any) -> Graph:
    """A short search with the miniature as any MODEL; where it corrects, by image to image."""
    graph = loop_graph(depth=1, drafts=2, strategy=strategy.partition(",")[0])
    graph["mini"] = ours("MiniatureLoader")
    size = {"width": 64, "height": 64, "steps": 4}
    graph["flux"] = ours("PainterFromModel", **{**MODELS, **size, **BY_TEMPLATE, **painting})
    graph["settings"] = text_of(link("flux", 1))
    if strategy in CORRECTING:
        how = {"denoise": 0.6, "steps": 2, "guidance": 3.5, "cfg": 1.0}
        named = {"sampler": "euler", "scheduler": "simple"}
        graph["corrector"] = ours(
            "ImageToImageCorrector", flux=link("flux"), **MODELS, **how, **named
        )
        graph["loop"]["inputs"]["flux"] = link("corrector")
    if strategy in PAINTING:
        search = "zero_order" if strategy == NEAR_BY else "random"
        graph["options"] = search_options(reflection_axis=False, noise_search=search)
        graph["loop"]["inputs"]["options"] = link("options")
    if strategy == "staged":
        graph["plan"] = ours("ScenePlanner", prompt=PROMPT, planner="rules", own_plan="")
        graph["inspector"] = ours("InspectorLoader", inspector="exact")
        graph["loop"]["inputs"] |= {"plan": link("plan"), "inspector": link("inspector")}
    return graph


def candidates(run: Run) -> list[dict[str, Any]]:
    return json.loads(run.text("report"))["candidates"]


@pytest.mark.parametrize("strategy", [*PAINTING, *CORRECTING])
def test_every_strategy_runs_on_it(comfy: ComfyServer, strategy: str) -> None:
    run = comfy.succeed(painter_graph(strategy))
    found = candidates(run)
    assert max(c["round"] for c in found) == 1
    assert {image.size for image in run.images("images")} == {(64, 64)}
    assert len(run.images("images")) == len(found)


def flux_of_model(**how: Any) -> dict[str, Any]:
    sides = {"width": 64, "height": 64, "condition_size": 64, "condition_fit": "squash"}
    return ours("FluxFromModel", **MODELS, **sides, guidance=3.5, **how)


# Some samplers leave out a level of noise, and some add noise to a batch as a whole.
@pytest.mark.parametrize("sampler", ["euler", "uni_pc", "dpmpp_2m_sde"])
@pytest.mark.parametrize("kind", ["PainterFromModel", "FluxFromModel"])
def test_a_seed_of_the_report_gives_the_same_picture_in_ksampler(
    comfy: ComfyServer, kind: str, sampler: str
) -> None:
    named = {"sampler": sampler, "scheduler": "simple"}
    asked = painter_graph("noise", **named)
    asked["loop"]["inputs"]["batch_size"] = 2
    if kind == "FluxFromModel":
        asked["flux"] = flux_of_model(steps=4, **named)
        del asked["settings"]
    run = comfy.succeed(asked)
    if kind == "PainterFromModel":
        said = f"FLUX.1-dev: 4 steps, cfg 1, guidance 3.5, {sampler}"
        assert run.text("settings").startswith(said)
    graph: Graph = {"mini": ours("MiniatureLoader")}
    graph["words"] = node("CLIPTextEncode", clip=link("mini", 1), text=PROMPT)
    graph["latent"] = node("EmptySD3LatentImage", width=64, height=64, batch_size=1)
    how = {"steps": 4, "cfg": 1.0, "denoise": 1.0, "sampler_name": sampler, "scheduler": "simple"}
    for index, candidate in enumerate(candidates(run)[:2]):
        graph[f"sampled{index}"] = node(
            "KSampler",
            model=link("mini"),
            positive=link("words"),
            negative=link("words"),
            latent_image=link("latent"),
            seed=candidate["seed"],
            **how,
        )
        decoded = node("VAEDecode", samples=link(f"sampled{index}"), vae=link("mini", 2))
        graph |= {f"decoded{index}": decoded, f"shown{index}": shown(link(f"decoded{index}"))}
    theirs = comfy.succeed(graph)
    expected = [*theirs.images("shown0"), *theirs.images("shown1")]
    pairs = zip(run.images("images"), expected, strict=False)
    off = [np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() for ours, theirs in pairs]
    assert max(off) <= 1  # Preview Image cuts off what a picture of a search has rounded


def test_a_sampler_that_shows_no_prediction_paints_all_the_same(comfy: ComfyServer) -> None:
    graph = painter_graph("noise")
    graph["flux"] = flux_of_model(steps=1, sampler="dpm_adaptive", scheduler="simple")
    del graph["settings"]
    assert len(comfy.succeed(graph).images("images")) == len(candidates(comfy.succeed(graph)))


def test_bad_settings_are_a_sentence_before_anything_is_painted(comfy: ComfyServer) -> None:
    failed = comfy.run(painter_graph("noise", cfg=7.0))
    assert "is distilled" in failed.error
    assert "images" not in failed.outputs
