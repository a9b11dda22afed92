"""FLUX from ComfyUI's own MODEL, CLIP and VAE in a real ComfyUI: the miniature stands in for it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from comfy_graphs import (
    DRAFTS,
    Graph,
    link,
    loop_graph,
    node,
    ours,
    search_options,
    shown,
)
from comfy_server import ComfyServer, Run

SAMPLER = {"sampler": "euler", "scheduler": "simple"}
SIZE = {"width": 64, "height": 64, "condition_size": 64, "condition_fit": "squash"}
MODELS = {"model": link("mini", 0), "clip": link("mini", 1), "vae": link("mini", 2)}


def native(depth: int = 1, corrector: bool = True, **changes: Any) -> Graph:
    """`loop_graph` with a FLUX from ComfyUI's models."""
    graph = loop_graph(depth=depth, **changes)
    graph["mini"] = ours("MiniatureLoader")
    graph["taught"] = ours("LoadCorrector", model=link("mini"), lora="miniature")
    given = {**MODELS, "model": link("taught" if corrector else "mini")}
    how = {"steps": 12, "guidance": 3.5, "sampler": "euler", "scheduler": "as FLUX.1-dev"}
    graph["flux"] = ours("FluxFromModel", **given, **SIZE, **how)
    if not corrector:
        del graph["taught"]
    return graph


def other(kind: str, **changes: Any) -> Graph:
    """`native` with another model as the corrector."""
    graph = native(corrector=False)
    how = {**SAMPLER, "steps": 4, "guidance": 3.5, "cfg": 1.0, **changes}
    graph["other"] = ours(kind, flux=link("flux"), **MODELS, **how)
    graph["loop"]["inputs"]["flux"] = link("other")
    return graph


@pytest.mark.parametrize("strategy", ["potential", "scouts", "paths"])
def test_comfyuis_own_flux_paints_as_the_core_does_with_previews_and_restarts(
    comfy: ComfyServer, strategy: str
) -> None:
    ours, theirs = (
        comfy.succeed(graph(depth=2, strategy=strategy)) for graph in (native, loop_graph)
    )
    for found in (candidates(ours), candidates(theirs)):
        assert [c["score"] for c in found] == [c["score"] for c in candidates(theirs)]
        assert [c["steps"] for c in found] == [c["steps"] for c in candidates(theirs)]


def candidates(run: Run) -> list[dict]:
    return json.loads(run.text("report"))["candidates"]


def steps(run: Run) -> int:
    return json.loads(run.text("report"))["cost"]["steps"]


def farthest(one: Run, two: Run) -> int:
    pairs = zip(one.images("images"), two.images("images"), strict=True)
    return max(int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max()) for a, b in pairs)


def test_it_searches_and_paints_as_the_flux_loader_does(comfy: ComfyServer) -> None:
    # Boxes around things differ by a pixel where colours differ by 2 of 255.
    whole = {"options": search_options(correct="whole")}
    run, loader = (
        comfy.succeed(graph(depth=2, options=link("options")) | whole)
        for graph in (native, loop_graph)
    )
    assert candidates(run) == candidates(loader)
    assert farthest(run, loader) <= 2


def test_the_corrector_may_come_by_either_wire(comfy: ComfyServer) -> None:
    graph = native(corrector=False)
    graph["late"] = ours("CorrectorLoader", flux=link("flux"), lora="miniature")
    graph["loop"]["inputs"]["flux"] = link("late")
    assert comfy.succeed(graph).pixels("images") == comfy.succeed(native()).pixels("images")


def test_without_a_corrector_it_paints_drafts_and_says_what_corrections_need(
    comfy: ComfyServer,
) -> None:
    assert "needs a corrector" in comfy.run(native(corrector=False)).error
    run = comfy.succeed(native(corrector=False, strategy="noise", depth=0))
    assert len(run.images("images")) == DRAFTS


def test_flux_sampling_behind_it_changes_what_it_paints_with(comfy: ComfyServer) -> None:
    graph = native()
    numbers = {"width": 96, "height": 64, "steps": 3, "guidance": 2.0, "condition_size": 32}
    graph["sampling"] = ours("FluxSampling", flux=link("flux"), condition_fit="fit", **numbers)
    graph["loop"]["inputs"]["flux"] = link("sampling")
    run = comfy.succeed(graph)
    assert {image.size for image in run.images("images")} == {(96, 64)}
    assert steps(run) == 3 * (DRAFTS + 2)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_ancestral"])
def test_any_sampler_and_scheduler_paints_the_same_again(comfy: ComfyServer, sampler: str) -> None:
    graph = native()
    graph["flux"]["inputs"] |= {"sampler": sampler, "scheduler": "beta"}
    first = comfy.succeed(graph).pixels("images")
    comfy.forget()
    assert comfy.succeed(graph).pixels("images") == first
    assert comfy.succeed(native()).pixels("images") != first


def test_a_saved_run_goes_on_where_it_was_and_knows_another_sampler(comfy: ComfyServer) -> None:
    """The folder's name holds a digest of the weights and of how they paint."""

    def folder(**changes: Any) -> str:
        graph = native(save_run=True, seed=77)
        graph["flux"]["inputs"] |= changes
        return json.loads(comfy.succeed(graph).text("report"))["folder"]

    first = folder()
    comfy.forget()
    assert folder() == first
    assert folder(scheduler="simple") != first


def test_an_editing_model_corrects_in_the_pictures_own_size(comfy: ComfyServer) -> None:
    run = comfy.succeed(other("EditCorrector"))
    found = candidates(run)
    assert [c["round"] for c in found] == [0] * DRAFTS + [1, 1]
    assert {image.size for image in run.images("images")} == {(64, 64)}
    assert steps(run) == 12 * DRAFTS + 4 * 2


def test_image_to_image_keeps_more_of_a_picture_the_less_it_denoises(comfy: ComfyServer) -> None:
    def kept(denoise: float) -> float:
        run = comfy.succeed(other("ImageToImageCorrector", denoise=denoise))
        images = [np.asarray(image, int) for image in run.images("images")]
        found = candidates(run)
        pairs = [(c["parent"], i) for i, c in enumerate(found) if c["round"]]
        return float(np.mean([np.abs(images[a] - images[b]).mean() for a, b in pairs]))

    assert kept(0.1) < kept(0.6) < kept(1.0)


def conditioned(**inputs: Any) -> Graph:
    graph: Graph = {"mini": ours("MiniatureLoader")}
    graph["words"] = node("CLIPTextEncode", clip=link("mini", 1), text="a red circle")
    graph["picture"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0xFF0000)
    given = {"conditioning": link("words"), "vae": link("mini", 2), "images": link("picture")}
    how = {"condition_size": 64, "condition_fit": "squash"}
    graph["seen"] = ours("CorrectorConditioning", **{**given, **how, **inputs})
    graph["latent"] = node("EmptySD3LatentImage", width=64, height=64, batch_size=1)
    graph["sampled"] = node(
        "KSampler",
        model=link("mini"),
        positive=link("seen"),
        negative=link("seen"),
        latent_image=link("latent"),
        seed=1,
        steps=2,
        cfg=1.0,
        denoise=1.0,
        sampler_name="euler",
        scheduler="simple",
    )
    graph["decoded"] = node("VAEDecode", samples=link("sampled"), vae=link("mini", 2))
    return graph | {"images": shown(link("decoded"))}


def test_a_second_reference_picture_is_refused(comfy: ComfyServer) -> None:
    graph = conditioned(conditioning=link("kontext"))
    graph["kontext"] = node("ReferenceLatent", conditioning=link("words"), latent=link("latent"))
    assert "already has a reference picture" in comfy.run(graph).error


def corrected(**inputs: Any) -> Graph:
    """`conditioned` with a MODEL that has the corrector."""
    graph = conditioned(**inputs)
    graph["taught"] = ours("LoadCorrector", model=link("mini"), lora="miniature")
    graph["sampled"]["inputs"]["model"] = link("taught")
    return graph


def test_a_reference_picture_after_that_of_the_corrector_is_refused(comfy: ComfyServer) -> None:
    graph = corrected()
    graph["kontext"] = node("ReferenceLatent", conditioning=link("seen"), latent=link("latent"))
    graph["sampled"]["inputs"]["positive"] = link("kontext")
    assert "has 2 reference pictures" in comfy.run(graph).error


@pytest.mark.parametrize(("pictures", "latents"), [(2, 1), (2, 3)])
def test_pictures_that_are_not_one_for_each_latent_are_refused(
    comfy: ComfyServer, pictures: int, latents: int
) -> None:
    graph = corrected()
    graph["picture"]["inputs"]["batch_size"] = pictures
    graph["latent"]["inputs"]["batch_size"] = latents
    assert f"{pictures} pictures, and the latent has a batch of {latents}" in comfy.run(graph).error


@pytest.mark.parametrize("pictures", [1, 3])
def test_one_picture_for_all_latents_or_for_each_is_corrected(
    comfy: ComfyServer, pictures: int
) -> None:
    graph = corrected()
    graph["picture"]["inputs"]["batch_size"] = pictures
    graph["latent"]["inputs"]["batch_size"] = 3
    assert len(comfy.succeed(graph).images("images")) == 3


def test_a_lora_that_does_not_fit_is_refused(comfy: ComfyServer) -> None:
    (comfy.base / "models" / "loras" / "text.safetensors").write_bytes(b"not a LoRA" * 100)
    graph = native()
    graph["taught"]["inputs"]["lora"] = "text.safetensors"
    assert "text.safetensors" in comfy.run(graph).error


def test_a_size_that_flux_cannot_paint_is_a_sentence(comfy: ComfyServer) -> None:
    graph = native()
    graph["flux"]["inputs"]["width"] = 70
    assert "The picture's width is 70. Give a multiple of 16" in comfy.run(graph).error
