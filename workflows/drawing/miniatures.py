"""Graphs of the miniature that no template shows: the tests run them in ComfyUI, in the API's form.

Each method stands here in its smallest form, wired from the nodes that do one thing each.
"""

from __future__ import annotations

from typing import Any

from .canvas import Graph, Node, Wire, node
from .parts import (
    ASKS_NOBODY,
    BESIDE,
    SELDOM,
    THREE,
    actor_wires,
    enlarged,
    options,
    request,
    sampling,
)

PAIR = "a photo of a red triangle and a green square"
PATIENT = ("a photo of two yellow circles", 25)  # five pictures, one of them from scratch
RED, BLUER = "a photo of a red circle", "a photo of a blue circle"
PROMPT = Wire("prompt", "STRING")


# ---------------------------------------------------------------- what they are made of


def loader() -> Node:
    return node("flux", "FluxLoader", model="miniature", dtype="bf16")


def by_shapes() -> list[Node]:
    """Who judges, writes and rewrites."""
    return [
        node("verifier", "VerifierLoader", verifier="exact", error=0.0, detector="(none)"),
        node("writer", "WriterLoader", writer="template"),
        node("evolver", "EvolverLoader", evolver="rules"),
    ]


def shown(name: str, source: str = "loop") -> list[Node]:
    """The contact sheet of a search, and its best picture."""
    trail = node("trail", "ReflectionTrail", history=Wire(source, "history"), save_run=False)
    large = enlarged(Wire("loop" if source == "loop" else "trail", "best"))
    prefix = f"reflectionflow/{name}_miniature"
    best = node("best", "SaveImage", images=Wire("large", "IMAGE"), filename_prefix=prefix)
    return [trail, large, best]


def named(name: str, *nodes: Node) -> Graph:
    return Graph(f"{name}_miniature", nodes)


def searched(name: str, *before: Node, painter: str = "flux", **asked: Any) -> Graph:
    """A search by all actors."""
    loop = node("loop", "ReflectionLoop", **asked, **actor_wires(painter))
    return named(name, *before, loop, *shown(name))


def steered(name: str, *finer: Node, sampled: dict[str, int], **asked: Any) -> Graph:
    """A search by a FLUX whose sampling is set, perhaps with Search Options."""
    flux = [loader(), sampling(Wire("flux", "FLUX"), **sampled)]
    asked |= {"options": Wire("options", "options")} if finer else {}
    return searched(name, *flux, *by_shapes(), *finer, painter="sampling", **asked)


def uncorrected(name: str, **asked: Any) -> Graph:
    """A search that needs a FLUX and a verifier only."""
    wires = actor_wires("flux")
    loop = node("loop", "ReflectionLoop", **asked, flux=wires["flux"], verifier=wires["verifier"])
    return named(name, loader(), by_shapes()[0], loop, *shown(name))


# ---------------------------------------------------------------- searches


def full_search() -> Graph:
    asked = request(PAIR, 23, width=3, drafts=4, save_run=True)
    return steered("full_search", options(), sampled={}, **asked, depth=3)


def adaptive() -> Graph:
    asked = request(*PATIENT, strategy="adaptive", stop="when passed")
    return steered("adaptive", options(), sampled={}, **asked, depth=8)


def potential() -> Graph:
    asked = request(PAIR, 10, strategy="potential", drafts=3)
    return steered("potential", sampled={"steps": 30}, **asked, depth=3)


def noise_only() -> Graph:
    return uncorrected("noise_only", **request(PAIR, 2, strategy="noise"), depth=3)


def paths() -> Graph:
    return uncorrected("paths", **request(PAIR, 0, strategy="paths"), depth=4)


def native_search() -> Graph:
    small = [node("model", "MiniatureLoader"), corrector(), native_flux("corrector")]
    return searched("native_search", *small, *by_shapes(), **request(THREE, 11), depth=3)


def image_to_image_search() -> Graph:
    numbers = {"denoise": 0.75, "steps": 12, "guidance": 3.5}
    over = node(
        "recast",
        "ImageToImageCorrector",
        flux=Wire("flux", "FLUX"),
        **parts(),
        **numbers,
        sampler="euler",
        scheduler="simple",
        cfg=1.0,
    )
    small = [node("model", "MiniatureLoader"), native_flux("model"), over, *by_shapes()]
    asked = request(THREE, 0)
    return searched("image_to_image_search", *small, painter="recast", **asked, depth=3)


def parts() -> dict[str, Wire]:
    return {name: Wire("model", name.upper()) for name in ("model", "clip", "vae")}


def corrector() -> Node:
    return node("corrector", "LoadCorrector", model=Wire("model", "MODEL"), lora="miniature")


def native_flux(source: str) -> Node:
    return node(
        "flux",
        "FluxFromModel",
        **parts() | {"model": Wire(source, "MODEL")},
        width=64,
        height=64,
        steps=12,
        guidance=3.5,
        sampler="euler",
        scheduler="as FLUX.1-dev",
        condition_size=64,
        condition_fit="squash",
    )


def staged_search() -> Graph:
    planner = node("planner", "ScenePlanner", prompt=PROMPT, planner="rules-strict", own_plan="")
    inspector = node("inspector", "InspectorLoader", inspector="exact")
    asked = request(PROMPT, 7, strategy="staged", stop="when passed")
    asked |= {"plan": Wire("planner", "plan"), "inspector": Wire("inspector", "inspector")}
    before = [typed(BESIDE), planner, loader(), *by_shapes(), inspector]
    return searched("staged_search", *before, **asked, depth=6)


def interleaved() -> Graph:
    think = node("think", "ThinkFirst", prompt=PROMPT, thinker="layout")
    finer = options(draft_prompt=Wire("think", "draft_prompt"))
    asked = request(PROMPT, 4, strategy="interleaved", options=Wire("options", "options"))
    jury = by_shapes()[:2]
    wires = {name: wire for name, wire in actor_wires("flux").items() if name != "evolver"}
    loop = node("loop", "ReflectionLoop", **asked, depth=1, **wires)
    before = [typed(SELDOM), think, loader(), *jury, finer]
    return named("interleaved", *before, loop, *shown("interleaved"))


def in_context() -> Graph:
    asked = request(PROMPT, 12, strategy="in-context", options=Wire("options", "options"))
    before = [typed(BESIDE), loader(), *by_shapes(), options(parents="latest")]
    return searched("in_context", *before, **asked, depth=3)


def typed(prompt: str) -> Node:
    return node("prompt", "PrimitiveStringMultiline", 0, "Prompt", value=prompt)


def prompt_batch() -> Graph:
    sizes = {"budget": 16, "width": 2, "depth": 5, "drafts": 0, "seed": 11}
    ways = {"strategy": "reflection", "stop": "when passed"}
    asked = {"prompts": "\n".join((THREE, PAIR, BESIDE, RED)), **sizes, **ways}
    batch = node("batch", "PromptBatch", **asked, **actor_wires("flux"))
    seen = [node(name, "PreviewImage", images=Wire("batch", name)) for name in ("best", "sheet")]
    said = node("said", "PreviewAny", source=Wire("batch", "report"))
    return named("prompt_batch", loader(), *by_shapes(), batch, *seen, said)


# ---------------------------------------------------------------- wired by hand


def by_hand() -> Graph:
    """Two rounds of the five nodes; they paint what the loop of the first look paints."""
    flux, seed = Wire("flux", "FLUX"), Wire("seed", "INT")
    draft = node("drafts", "DraftSampler", flux=flux, prompt=PROMPT, count=2, seed=seed)
    draft.inputs["batch_size"] = 1
    rows = [draft, *judged("drafts", 0, "best first")]
    for index in (1, 2):
        rows += corrected(index)
    begun = [typed(THREE), node("seed", "PrimitiveInt", 0, "Seed", value=11), loader()]
    return named("by_hand", *begun, *by_shapes(), *rows)


def corrected(index: int) -> list[Node]:
    before = f"score{index - 1}"
    images, verdicts = Wire(before, "images"), Wire(before, "verdicts")
    seen = {"prompt": PROMPT, "images": images, "verdicts": verdicts}
    writer, evolver = Wire("writer", "writer"), Wire("evolver", "evolver")
    write = node(f"write{index}", "ReflectionWriter", **seen, writer=writer)
    evolve = node(f"evolve{index}", "PromptEvolver", **seen, evolver=evolver)
    if index > 1:
        evolve.inputs["reflections"] = Wire(f"write{index - 1}", "reflections")
    correct = node(
        f"correct{index}",
        "CorrectorSampler",
        images=images,
        prompt=Wire(evolve.name, "prompts"),
        reflections=Wire(write.name, "reflections"),
        flux=Wire("flux", "FLUX"),
        seed=Wire("seed", "INT"),
        round=index,
        batch_size=1,
    )
    return [write, evolve, correct, *judged(correct.name, index, "as given")]


def judged(source: str, index: int, order: str) -> list[Node]:
    asked = {"prompt": PROMPT, "verifier": Wire("verifier", "verifier")}
    images = Wire(source, "images")
    score = node(f"score{index}", "VerifierScore", images=images, **asked, order=order, keep=2)
    large = enlarged(Wire(score.name, "images"), f"large{index}")
    seen = node(f"seen{index}", "PreviewImage", images=Wire(large.name, "IMAGE"))
    return [score, large, seen]


def rounds_by_hand() -> Graph:
    asked = {name: value for name, value in request(THREE, 11).items() if name not in ASKS_NOBODY}
    rounds = [node("start", "ReflectionStart", **asked)]
    for index in range(3):
        history = Wire(rounds[-1].name, "history")
        wires = actor_wires("flux")
        rounds.append(node(f"round{index}", "ReflectionRound", history=history, **wires))
    before = [loader(), *by_shapes()]
    return named("rounds_by_hand", *before, *rounds, *shown("rounds_by_hand", "round2"))


def staged_by_hand() -> Graph:
    """Plan, paint, inspect, draw on, inspect, draw on."""
    planner = node("planner", "ScenePlanner", prompt=PROMPT, planner="rules-strict", own_plan="")
    inspector = node("inspector", "InspectorLoader", inspector="exact")
    drawn = {"flux": Wire("flux", "FLUX"), "prompt": Wire("planner", "scene"), "count": 2}
    draft = node("draft", "DraftSampler", **drawn, seed=3, batch_size=1)
    rows = [typed(BESIDE), planner, loader(), inspector, draft]
    for index in (1, 2):
        rows += drawn_on(index)
    return named("staged_by_hand", *rows)


def drawn_on(index: int) -> list[Node]:
    images = Wire(f"correct{index - 1}" if index > 1 else "draft", "images")
    inspect = node(
        f"inspect{index}",
        "StageInspector",
        images=images,
        prompt=PROMPT,
        plan=Wire("planner", "plan"),
        inspector=Wire("inspector", "inspector"),
        stage=Wire(f"inspect{index - 1}", "next_stage") if index > 1 else 1,
    )
    correct = node(
        f"correct{index}",
        "CorrectorSampler",
        images=images,
        prompt=Wire(inspect.name, "scene"),
        reflections=Wire(inspect.name, "instruction"),
        flux=Wire("flux", "FLUX"),
        seed=11,
        round=index,
        batch_size=1,
    )
    large = enlarged(Wire(correct.name, "images"), f"large{index}")
    seen = node(f"seen{index}", "PreviewImage", images=Wire(large.name, "IMAGE"))
    return [inspect, correct, large, seen]


# ---------------------------------------------------------------- without a search


def correct_my_picture() -> Graph:
    """Its pictures are painted, so that it runs at once."""
    picture = node(
        "picture",
        "DraftSampler",
        flux=Wire("flux", "FLUX"),
        prompt=RED,
        count=4,
        seed=2,
        batch_size=1,
    )
    correct = node(
        "correct",
        "CorrectorSampler",
        images=Wire("picture", "images"),
        prompt=BLUER,
        reflections="recolor the red circle blue",
        flux=Wire("flux", "FLUX"),
        seed=2,
        round=1,
        batch_size=1,
    )
    large = enlarged(Wire("correct", "images"))
    after = node("after", "PreviewImage", images=Wire("large", "IMAGE"))
    return named("correct_my_picture", loader(), picture, correct, large, after)


def native_ksampler() -> Graph:
    """The corrector in ComfyUI's own nodes: a draft, and its correction."""
    before = encoded("prompt", RED), *sampled("before", Wire("model", "MODEL"), "prompt", 1)
    seen = node(
        "seen",
        "CorrectorConditioning",
        conditioning=Wire("words", "CONDITIONING"),
        vae=Wire("model", "VAE"),
        images=Wire("before", "IMAGE"),
        condition_size=64,
        condition_fit="squash",
    )
    said = encoded("words", BLUER, " [Reflexion] recolor the red circle blue")
    after = said, seen, *sampled("after", Wire("corrector", "MODEL"), "seen", 2)
    large = enlarged(Wire("after", "IMAGE"))
    shows = node("shown", "PreviewImage", images=Wire("large", "IMAGE"))
    given = {"conditioning": Wire("prompt", "CONDITIONING")}
    first, *rest = before
    empty = node("empty", "EmptySD3LatentImage", width=64, height=64, batch_size=4)
    negative = node("negative", "ConditioningZeroOut", **given)
    begun = [node("model", "MiniatureLoader"), corrector(), first, negative, empty]
    return named("native_ksampler", *begun, *rest, *after, large, shows)


def encoded(name: str, prompt: str, change: str = "") -> Node:
    given = {"clip": Wire("model", "CLIP"), "clip_l": prompt, "t5xxl": prompt + change}
    return node(name, "CLIPTextEncodeFlux", **given, guidance=3.5)


def sampled(name: str, model: Wire, positive: str, seed: int) -> list[Node]:
    latents = node(
        f"{name}_latents",
        "KSampler",
        model=model,
        positive=Wire(positive, "CONDITIONING"),
        negative=Wire("negative", "CONDITIONING"),
        latent_image=Wire("empty", "LATENT"),
        seed=seed,
        steps=12,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    vae = Wire("model", "VAE")
    return [latents, node(name, "VAEDecode", samples=Wire(latents.name, "LATENT"), vae=vae)]


# ---------------------------------------------------------------- with models that watch


def think_first() -> Graph:
    """Drafts from a prompt that a model has thought through, and from the words as typed."""
    vlm = endpoint()
    thinks = {"prompt": PROMPT, "vlm": Wire("vlm", "vlm"), "thinker": "vlm"}
    thought = Wire("think", "draft_prompt")
    given = {"flux": Wire("flux", "FLUX"), "count": 2, "seed": 11, "batch_size": 1}
    painted = [
        node(name, "DraftSampler", prompt=prompt, **given)
        for name, prompt in (("after", thought), ("before", PROMPT))
    ]
    seen = [
        node(f"{name}_shown", "PreviewImage", images=Wire(name, "images"))
        for name in ("after", "before")
    ]
    said = node("said", "PreviewAny", source=thought)
    begun = [vlm, loader(), typed(RED), node("think", "ThinkFirst", **thinks), said]
    return Graph("think_first", [*begun, *painted, *seen])


def endpoint(name: str = "vlm") -> Node:
    return node(name, "VlmEndpoint", profile="mine", refresh=0, send_pictures=False)


def verifier_ensemble() -> Graph:
    """Three verifiers at once rank a folder; the checklist is the gate."""
    checked = node("vlm", "JudgeCheck", vlm=Wire("server", "vlm"), insist=False, refresh=0)
    given = {"verifier": "checklist", "error": 0.0, "detector": "(none)"}
    jury = [
        node("checklist", "VerifierLoader", **given, vlm=Wire("vlm", "vlm")),
        node("clip_score", "ClipScoreLoader", model="small-clip"),
        node("reward", "RewardLoader", model="small-reward", base="small-base"),
    ]
    wires = {f"verifier_{i}": Wire(each.name, "verifier") for i, each in enumerate(jury, 1)}
    weights = {f"weight_{i}": 1.0 for i in range(1, 5)}
    gate = Wire("checklist", "verifier")
    joined = node("verifier", "VerifierEnsemble", **wires, gate=gate, **weights, shortlist=2)
    pictures = node("pictures", "LoadImageDataSetFromFolder", folder="my_pictures")
    asked = {"images": Wire("pictures", "images"), "verifier": Wire("verifier", "verifier")}
    rank = {"prompt": "two red cups on a table", "order": "best first", "keep": 0}
    score = node("score", "VerifierScore", **asked, **rank)
    shows = [
        node("ranked", "PreviewImage", images=Wire("score", "images")),
        node("report", "PreviewAny", source=Wire("score", "report")),
    ]
    return Graph(
        "verifier_ensemble", [endpoint("server"), checked, *jury, joined, pictures, score, *shows]
    )


def score_folder() -> Graph:
    """Ranks the shapes of a folder."""
    pictures = node("pictures", "LoadImageDataSetFromFolder", folder="my_pictures")
    asked = {"images": Wire("pictures", "images"), "verifier": Wire("verifier", "verifier")}
    score = node("score", "VerifierScore", **asked, prompt=THREE, order="best first", keep=0)
    shows = [
        node("ranked", "PreviewImage", images=Wire("score", "images")),
        node("report", "PreviewAny", source=Wire("score", "report")),
    ]
    return Graph("score_folder", [pictures, by_shapes()[0], score, *shows])


MINIATURES = (
    full_search(),
    by_hand(),
    rounds_by_hand(),
    noise_only(),
    adaptive(),
    correct_my_picture(),
    native_search(),
    native_ksampler(),
    image_to_image_search(),
    potential(),
    paths(),
    staged_search(),
    interleaved(),
    in_context(),
    prompt_batch(),
    staged_by_hand(),
    think_first(),
    verifier_ensemble(),
    score_folder(),
)
