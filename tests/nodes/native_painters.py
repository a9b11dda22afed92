"""Run by ComfyUI's own Python: our painter of any MODEL against ComfyUI's own nodes.

    python native_painters.py COMFYUI PACK [--json]

prints for every case the largest difference in a picture of 255, and how far the picture of another
seed lies. The reference is made as the family's official template makes it: its empty latent, CLIP
Text Encode, KSampler or SamplerCustomAdvanced, VAE Decode.
"""

# ruff: noqa: T201
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportAttributeAccessIssue=false
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from native_setup import AS_JSON, Cases, Found, Patcher  # isort: skip
import torch
from comfy.model_sampling import ModelSamplingFlux
from comfy.patcher_extension import WrappersMP
from comfy_extras import nodes_custom_sampler
from pack.nodes.comfy.digests import described
from pack.nodes.comfy.families import Family, family_of, files_before
from pack.nodes.comfy.painter import ComfyFlux
from pack.nodes.comfy.painter_model import ModelPainter, model_painter
from pack.nodes.comfy.painter_settings import TemplateOverrides
from pack.nodes.comfy.tensors import to_batch, to_pictures
from pack.reflectionflow_core.flux.condition import ConditionSettings
from pack.reflectionflow_core.flux.settings import SamplingSettings
from pack.reflectionflow_core.record import Candidate, InputError, Request, Restart, Verdict
from painter_models import Clip, Vae, known, small
from painter_reference import (
    NEGATIVE,
    PROMPT,
    SEED,
    SIZE,
    TEMPLATES,
    Template,
    clip_of,
    conditionings,
    drafts,
    far,
    farthest,
    painter,
    reference,
    run,
    sampler_parts,
    shifted,
)
from PIL import Image

import nodes


def as_its_template(name: str) -> Found:
    """The scale is how far another seed lies, in one step."""
    how = TEMPLATES[name]
    model = small(how.kind)
    ours, theirs = painter(how.kind, model, how.file).generator, reference(how, model)
    other = reference(replace(how, steps=1), model, [SEED + 1])
    return farthest(ours.paint(drafts(SEED)), theirs), farthest(other, theirs)


def painted(how: Template, model: Patcher, theirs: Sequence[Image.Image], **asked: Any) -> Found:
    """Our picture with few steps and what is asked for, against one by ComfyUI's nodes."""
    ours = painter(how.kind, model, how.file, steps=how.steps, **asked).generator
    plain = painter(how.kind, model, how.file, steps=how.steps).generator
    requests = drafts(*range(SEED, SEED + len(theirs)))
    return farthest(ours.paint(requests), theirs), farthest(plain.paint(requests), theirs)


def few(kind: str, steps: int = 3, **changes: Any) -> Template:
    return replace(TEMPLATES[kind], steps=steps, **changes)


def a_batch() -> Found:
    """Two pictures of one batch, each with its own seed; KSampler alone has one seed for both."""
    how, model = few("Z-Image"), small("Z-Image")
    ours = painter("Z-Image", model, steps=3).generator.paint(drafts(SEED, SEED + 1))
    theirs = reference(how, model, [SEED, SEED + 1])
    return farthest(ours, theirs), far(*theirs)


def against_a_negative() -> Found:
    how, model = few("Qwen-Image"), small("Qwen-Image")
    return painted(how, model, reference(how, model, negative=NEGATIVE), negative=NEGATIVE)


def by_another_sampler(kind: str, sampler: str) -> Found:
    how, model = few(kind, sampler=sampler, scheduler="beta"), small(kind)
    return painted(how, model, reference(how, model), sampler=sampler, scheduler="beta")


def by_custom_nodes() -> Found:
    """A SAMPLER and SIGMAS by wire."""
    how, model = few("Stable Diffusion 3", 5, sampler="heun"), small("Stable Diffusion 3")
    parts = sampler_parts(how, model, conditionings(how, clip_of(how.kind)), [SEED])
    latent = run(how.empty, *SIZE, 1)
    made = run(nodes_custom_sampler.SamplerCustomAdvanced, *parts, latent)
    theirs = to_pictures([run(nodes.VAEDecode, Vae(model), made)])
    ours = painter(how.kind, model, custom_sampler=parts[2], sigmas=parts[3]).generator
    plain = painter(how.kind, model, steps=5).generator
    return farthest(ours.paint(drafts(SEED)), theirs), farthest(plain.paint(drafts(SEED)), theirs)


def shift_of_a_node_before() -> Found:
    how, model = few("Qwen-Image", shift=("AuraFlow", 1.3)), small("Qwen-Image")
    ours = painter(how.kind, shifted(model, how.shift), steps=3).generator.paint(drafts(SEED))
    theirs = reference(how, model)
    return farthest(ours, theirs), farthest(reference(few("Qwen-Image"), model), theirs)


def shift_that_is_asked_for() -> Found:
    how, model = few("Stable Diffusion 3", shift=("SD3", 7.0)), small("Stable Diffusion 3")
    return painted(how, model, reference(how, model), shift=7.0)


def lora_before() -> Found:
    plain, how = small("Z-Image"), few("Z-Image")
    styled = plain.clone()
    name = "diffusion_model.layers.0.attention.qkv.weight"
    styled.add_patches({name: ("diff", (torch.randn(*plain.model.state_dict()[name].shape),))}, 0.7)
    theirs = reference(how, styled)
    ours = painter("Z-Image", styled, steps=3).generator.paint(drafts(SEED))
    return farthest(ours, theirs), farthest(reference(how, plain), theirs)


def repainted(kind: str) -> Found:
    """A picture taken back to a level of noise, against KSamplerAdvanced from the same step on."""
    how, model = few(kind, 6), small(kind)
    made = painter(kind, model, how.file, steps=6).generator
    (parent,) = made.paint(drafts(SEED + 5))
    again = Request(Restart(SEED, 0.6), PROMPT, Candidate(parent, PROMPT, 0, Verdict(0.0)))
    first = made.first_of(again)
    assert 0 < first < 6, first
    vae, asked = Vae(model), conditionings(how, clip_of(kind))
    latent = {"samples": vae.encode(to_batch([parent]))}
    names = (how.sampler, how.scheduler, *asked, latent, first, 10_000, "disable")
    sampler = (shifted(model, how.shift), "enable", SEED, 6, how.cfg)
    theirs = run(nodes.KSamplerAdvanced, *sampler, *names)
    (expected,) = to_pictures([run(nodes.VAEDecode, vae, theirs)])
    return far(made.paint([again])[0], expected), far(parent, expected)


def a_preview() -> Found:
    """A preview is the picture of fewer steps."""
    how, model = few("Qwen-Image", 4), small("Qwen-Image")
    made = painter("Qwen-Image", model, steps=8).generator
    assert made.preview_steps == 4
    (ours,) = made.preview(drafts(SEED))
    (theirs,) = reference(how, model)
    return far(ours.image, theirs), far(made.paint(drafts(SEED))[0], theirs)


class CancelledError(Exception):
    pass


class Watching:
    """Progress that cancels before step `last`, and keeps what it was told."""

    def __init__(self, last: int) -> None:
        self.last, self.steps = last, []

    def report(self, _phase: str, done: int, _total: int, _preview: Any = None) -> None:
        self.steps.append(done)

    def check(self) -> None:
        if len(self.steps) == self.last:
            raise CancelledError

    def say(self, text: str) -> None:
        raise AssertionError(text)


def steps_after_cancel() -> Found:
    made, watch = painter("Krea 2" if known("Krea 2") else "Z-Image", steps=8), Watching(2)
    try:
        made.generator.paint(drafts(SEED), watch)
    except CancelledError:
        return float(len(watch.steps) - 2), 8.0
    raise AssertionError("it was not cancelled")


def texts_read_again() -> Found:
    made = painter("Qwen-Image", steps=2, negative=NEGATIVE)
    made.generator.paint(drafts(SEED, SEED + 1))
    made.with_sampling(steps=3).generator.paint(drafts(SEED))
    return float(made.clip.reads - 2), 2.0  # prompt and negative, once each


def identities_that_agree_wrongly() -> Found:
    """The same models and settings are the same; another of any of them is not."""
    model = small("Z-Image")
    same = [painter("Z-Image", model, steps=4).identity["model"] for _ in range(2)]
    heun = run(nodes_custom_sampler.KSamplerSelect, "heun")
    models = (model, Clip(seed=1), Vae(model)), (model, Clip(), Vae(model, seed=1))
    others = [
        painter("Z-Image", model, steps=5),
        painter("Z-Image", model, steps=4, custom_sampler=heun),
        painter("Z-Image", model, shift=2.0, steps=4),
        painter("Z-Image", model, steps=4, negative=NEGATIVE),
        *(
            model_painter(three, SIZE, TemplateOverrides(steps=4), family_of(model))
            for three in models
        ),
    ]
    found = {other.identity["model"] for other in others}
    assert same[0] == same[1]
    assert " at 0x" not in described(heun, model)
    return float(len(others) - len(found - set(same))), float(len(others))


class Reweighed:
    """A patch of another pack: some strength, and a state that changes while it samples."""

    def __init__(self, strength: float, kinds: Sequence[str] = ("img", "txt")) -> None:
        self.strength, self.kinds = strength, set(kinds)
        self.owner, self.seen = self, []

    def __call__(self, *given: Any) -> Any:
        return given


def changes_by_other_nodes() -> list[Callable[[Patcher, Clip], Any]]:
    """Each changes how a MODEL or CLIP paints, and no weight."""

    def after_cfg(gain: float) -> Callable[[Patcher, Clip], Any]:
        return lambda m, _: m.set_model_sampler_post_cfg_function(lambda a: a["denoised"] * gain)

    def masked(place: int) -> Callable[[Patcher, Clip], Any]:
        mask = torch.zeros(64, 64)
        mask[place, 5] = 1
        return lambda m, _: m.set_model_unet_function_wrapper(partial(max, m, mask))

    def wrapped(m: Patcher, value: Any) -> None:
        m.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "another pack", value)

    return [
        lambda _, c: setattr(c, "layer_idx", -2),
        lambda _, c: setattr(c, "tokenizer_options", {"min_length": 1}),
        lambda m, _: m.add_object_patch("model_sampling", ModelSamplingFlux()),
        after_cfg(0.8),
        after_cfg(0.9),
        masked(1),
        masked(2),
        lambda m, _: m.set_model_attn1_patch(Reweighed(0.3)),
        lambda m, _: m.set_model_attn1_patch(Reweighed(0.4)),
        lambda m, _: m.set_model_attn1_patch(Reweighed(0.4, ["img"]).__call__),
        lambda m, _: wrapped(m, Reweighed(0.4)),
        lambda m, _: m.model_options.update(easycache={"threshold": 0.2}),
    ]


def identities_of(model: Patcher, clip: Clip, vae: Vae) -> tuple[str, str]:
    """Of both painters that other nodes' models are made into."""
    flux = ComfyFlux(model, clip, vae, SamplingSettings(), ConditionSettings())
    any_model = model_painter((model, clip, vae), SIZE, TemplateOverrides(), family_of(model))
    return flux.identity["model"], any_model.identity["model"]


def changes_without_another_identity() -> Found:
    """Neither a change of another node, nor another CLIP or VAE is overlooked."""
    model = small("FLUX.1-dev")
    plain, vae = identities_of(model, Clip(), Vae(model)), Vae(model)
    found, changes = set(), changes_by_other_nodes()
    for change in changes:
        changed, clip = model.clone(), Clip()
        change(changed, clip)
        found |= set(identities_of(changed, clip, vae))
    found |= set(identities_of(model, Clip(seed=1), vae))
    found |= set(identities_of(model, Clip(), Vae(model, seed=1)))
    expected = 2 * len(changes) + 4
    return float(expected - len(found - set(plain))), float(expected)


def changed_by_all(model: Any) -> tuple[Any, Clip]:
    changed, clip = model.clone(), Clip()
    for change in changes_by_other_nodes():
        change(changed, clip)
    return changed, clip


def identities_that_differ_wrongly() -> Found:
    """A changed model is the same when its nodes run again, and after it has painted."""
    model = small("FLUX.1-dev")
    vae = Vae(model)
    before, (changed, clip) = changed_by_all(model), changed_by_all(model)
    once = [identities_of(*each, vae) for each in (before, (changed, clip))]
    patch = changed.model_options["transformer_options"]["patches"]["attn1_patch"][0]
    patch.seen.append(torch.ones(1))
    plain = identities_of(model, Clip(), vae)
    changed.patch_model()
    once += [identities_of(changed, clip, vae)]
    differ = sum(one != once[0] for one in once) + (identities_of(model, Clip(), vae) != plain)
    changed.unpatch_model()
    return float(differ), float(len(once))


def of_a_family_unknown_here() -> Found:
    """With steps and cfg given, any model paints; without them it is refused."""
    how, model = few("Stable Diffusion 3", cfg=1.0, scheduler="simple"), small("Stable Diffusion 3")
    family = Family("Novelty", 0, pixels=0)
    models = (model, clip_of(how.kind), Vae(model))
    assert refuses(lambda: model_painter(models, SIZE, TemplateOverrides(steps=3), family))
    made = model_painter(models, SIZE, TemplateOverrides(steps=3, cfg=1.0), family)
    ours, theirs = made.generator.paint(drafts(SEED)), reference(how, model)
    return farthest(ours, theirs), farthest(reference(how, model, [SEED + 1]), theirs)


NAMES = {
    ("Flux", "flux1-krea-dev_fp8.safetensors", "recognise"): ("FLUX.1-dev", 20, 1.0),
    ("Flux", "flux1-dev-de-distill.gguf", "recognise"): ("FLUX.1, not distilled", 20, 1.0),
    ("Flux", "a.sft", "distilled"): ("FLUX.1-dev", 20, 1.0),
    ("Flux", "a.sft FLUX.1-Turbo-Alpha.safetensors", "recognise"): ("FLUX.1-dev", 8, 1.0),
    ("QwenImage", "qwen_image_2512_fp8.safetensors", "recognise"): ("Qwen-Image", 50, 4.0),
    ("QwenImage", "qwen.sft hyperrealism.safetensors", "recognise"): ("Qwen-Image", 20, 4.0),
    ("QwenImage", "qwen.sft epoch10_steps500.safetensors", "recognise"): ("Qwen-Image", 20, 4.0),
    ("QwenImage", "a-Lightning-8steps-V1.0.sft", "recognise"): ("Qwen-Image Lightning", 8, 1.0),
    ("ZImage", "z.gguf", "distilled"): ("Z-Image-Turbo", 8, 1.0),
    ("ZImage", "z_image_turbo_bf16.safetensors", "base"): ("Z-Image", 25, 4.0),
    ("Krea2", "krea2_turbo.safetensors drawing.safetensors", "recognise"): ("Krea 2", 8, 1.0),
    ("Krea2", "krea2_raw.safetensors", "recognise"): ("Krea 2 Raw", 0, 1.0),
    ("Flux2", "flux-2-klein-base-9b.safetensors", "recognise"): ("FLUX.2 klein base", 20, 5.0),
    ("Flux2", "flux-2-klein-9b.safetensors", "recognise"): ("FLUX.2 klein", 4, 1.0),
    ("SDXL", "sdxl_lightning_4step.safetensors", "recognise"): ("Stable Diffusion XL", 4, 1.0),
}


def families_named_wrongly() -> Found:
    graph = {
        "1": {"inputs": {"unet_name": "sub/base/krea2_turbo.safetensors", "dtype": "default"}},
        "2": {"inputs": {"model": ["1", 0], "lora_name": "drawing.safetensors", "strength": 1}},
        "3": {"inputs": {"model": ["2", 0], "clip": ["4", 0]}},
        "4": {"inputs": {"clip_name": "raw.safetensors"}},
    }
    assert sorted(files_before(graph, "3", "model")) == [
        "drawing.safetensors",
        "krea2_turbo.safetensors",
    ]
    power = {"on": True, "lora": "Lightning-8steps.safetensors", "strength": 1.0}
    for row, own, expected in (
        (power, 1.0, {"base.safetensors", "Lightning-8steps.safetensors"}),
        ({**power, "on": False}, 1.0, {"base.safetensors"}),
        (power, 0, {"base.safetensors", "Lightning-8steps.safetensors"}),
        ("turbo.safetensors", 0, {"base.safetensors"}),
        ("turbo.safetensors", 0.5, {"base.safetensors", "turbo.safetensors"}),
    ):
        loras = {"model": ["1", 0], "lora_1": row, "strength_model": own}
        chain = {"1": {"inputs": {"unet_name": "base.safetensors"}}, "2": {"inputs": loras}}
        chain["3"] = {"inputs": {"model": ["2", 0]}}
        assert {*files_before(chain, "3", "model")} == expected, (row, own)
    ovis = named("FluxSchnell")
    ovis.model.model_config.unet_config["yak_mlp"] = True
    assert family_of(ovis).name == "Ovis-Image"
    found = {key: family_of(named(key[0]), *key[1:]) for key in NAMES}
    wrong = {k: f for k, f in found.items() if (f.name, f.steps, f.cfg) != NAMES[k]}
    assert not wrong, wrong
    return float(len(wrong)), float(len(NAMES))


def not_refused() -> Found:
    """How many of the models and settings that cannot paint are taken, of how many."""
    qwen, sdxl, flux = small("Qwen-Image"), small("Stable Diffusion XL"), small("FLUX.1-dev")
    painting = small("Stable Diffusion XL")
    painting.model.set_inpaint()
    of_four = Vae(sdxl)
    sigmas = torch.tensor([1.0, 0.5])
    tries: list[Callable[[], Any]] = [
        *(lambda kind=kind: family_of(named(kind)) for kind in NOT_PAINTERS),
        lambda: family_of(painting),
        lambda: family_of(small("FLUX.1-dev", in_channels=96)),
        lambda: of(qwen, Clip(), of_four),
        lambda: of(qwen, Clip(), Vae(flux)),  # as many channels, without frames
        lambda: of(qwen, Clip(width=32), Vae(qwen)).generator.paint(drafts(SEED)),
        lambda: of(flux, Clip(pooled=None), Vae(flux)).generator.paint(drafts(SEED)),
        lambda: painter("FLUX.1-dev", flux, cfg=7.0),
        lambda: painter("Z-Image", file="z_image_turbo.safetensors", cfg=7.0),
        lambda: painter("FLUX.1-dev", flux, negative=NEGATIVE),
        lambda: painter("Qwen-Image", qwen, guidance=3.0),
        lambda: painter("Stable Diffusion XL", sdxl, shift=3.0),
        lambda: painter("Qwen-Image", qwen, sigmas=sigmas),
        lambda: painter("Qwen-Image", qwen, sigmas=torch.tensor([1.0, 0.0]), steps=4),
        lambda: painter("Qwen-Image", qwen, custom_sampler=object(), sampler="heun"),
        lambda: painter("Qwen-Image", qwen).with_sampling(guidance=2.0),
        lambda: painter("Qwen-Image", qwen).with_sampling(width=100),
        lambda: painter("Qwen-Image", qwen).with_sampling(condition_size=64),
        lambda: painter("Qwen-Image", qwen).with_sampling(condition_fit="fit"),
        lambda: painter("Qwen-Image", qwen).with_corrector("corrector.safetensors"),
        lambda: model_painter(
            (qwen, Clip(), Vae(qwen)), (100, 64), TemplateOverrides(), family_of(qwen)
        ),
    ]
    taken = [index for index, attempt in enumerate(tries) if not refuses(attempt)]
    assert not taken, taken
    return float(len(taken)), float(len(tries))


NOT_PAINTERS = ("WAN21_T2V", "LTXV", "HunyuanVideo", "StableAudio", "ACEStep", "Hunyuan3Dv2")


def named(kind: str) -> Any:
    """A MODEL of which only the class of its configuration is known."""
    config = type(kind, (), {"unet_config": {}})()
    model = SimpleNamespace(model_config=config, concat_keys=())
    space = SimpleNamespace(latent_dimensions=2)
    return SimpleNamespace(model=model, get_model_object=lambda _name: space)


def of(model: Patcher, clip: Any, vae: Any) -> ModelPainter:
    return model_painter((model, clip, vae), SIZE, TemplateOverrides(steps=1), family_of(model))


def refuses(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except InputError as error:
        return str(error).count(". ") >= 1 and str(error).endswith(".")
    return False


CASES: Cases = {
    **{
        f"{name}, as its template": lambda name=name: as_its_template(name)
        for name, how in TEMPLATES.items()
        if known(how.kind)
    },
    "two pictures of a batch": a_batch,
    "against a negative": against_a_negative,
    "a sampler that draws noise": lambda: by_another_sampler("Z-Image", "euler_ancestral"),
    "a sampler with a step more": lambda: by_another_sampler("Stable Diffusion XL", "uni_pc"),
    "a SAMPLER and SIGMAS": by_custom_nodes,
    "the shift of a node before": shift_of_a_node_before,
    "a shift that is asked for": shift_that_is_asked_for,
    "a LoRA before the node": lora_before,
    "repainted, a flow model": lambda: repainted("Qwen-Image"),
    "repainted, a model with unbounded noise": lambda: repainted("Stable Diffusion XL"),
    "a preview": a_preview,
    "steps after a cancel": steps_after_cancel,
    "texts read again": texts_read_again,
    "identities that agree wrongly": identities_that_agree_wrongly,
    "changes without another identity": changes_without_another_identity,
    "identities that differ wrongly": identities_that_differ_wrongly,
    "of a family unknown here": of_a_family_unknown_here,
    "families named wrongly": families_named_wrongly,
    "not refused": not_refused,
}


def main() -> None:
    found = {name: case() for name, case in CASES.items()}
    if AS_JSON:
        print(json.dumps(found))
        return
    for name, (off, scale) in found.items():
        print(f"| {name} | {off:.0f} | {scale:.0f} |")


if __name__ == "__main__":
    main()
