"""The graphs in which a vision-language model looks on: a server's, a folder's, ComfyUI's own."""

from __future__ import annotations

from . import notes
from .canvas import Graph, Group, Node, Wire, node, stack
from .native import corrector, file, models, native_flux, searched
from .parts import (
    BLUE,
    GREEN,
    LEFT,
    below,
    flux,
    group_below,
    read_me,
    request,
    results_group,
    watchers,
)

FOX = "a fox in a library"
CUPS = "two red cups to the left of a white plate, on a wooden table"
QWEN_FILE = file(notes.QWEN_CLIP, notes.QWEN_CLIP_REPO, "text_encoders", "text_encoders/")
VLM_WIRE = Wire("vlm", "vlm")


def vlm_search() -> Graph:
    endpoint = node("vlm", "VlmEndpoint", profile="mine", refresh=0, send_pictures=False)
    needed = (notes.PROFILE, notes.NATIVE_CORRECTOR_FILES, notes.UNTESTED_VLM)
    return vlm_graph("vlm_search", [endpoint], notes.VLM_SEARCH, *needed, tall=560)


def vlm_local_search() -> Graph:
    given = {"dtype": "bf16", "max_pixels": 589824}
    local = node("vlm", "VlmLoader", model=notes.QWEN, **given)
    needed = (notes.QWEN_FILES, notes.NATIVE_CORRECTOR_FILES, notes.UNTESTED_LOCAL)
    return vlm_graph("vlm_local_search", [local], notes.VLM_LOCAL_SEARCH, *needed, tall=400)


def vlm_clip_search() -> Graph:
    given = {"clip_name": notes.QWEN_CLIP, "type": "stable_diffusion", "device": "default"}
    loaded = node("qwen", "CLIPLoader", 0, "Load CLIP: who looks on", [QWEN_FILE], **given)
    seeing = node("vlm", "VlmFromClip", clip=Wire("qwen", "CLIP"))
    needed = (notes.QWEN_CLIP_FILES, notes.NATIVE_CORRECTOR_FILES, notes.UNTESTED_CLIP)
    return vlm_graph("vlm_clip_search", [loaded, seeing], notes.VLM_CLIP_SEARCH, *needed, tall=400)


def vlm_graph(name: str, vlm_nodes: list[Node], about: str, *sections: str, tall: int) -> Graph:
    """native_search with a model that judges, writes and rewrites."""
    read = read_me(notes.text(about, *sections), tall)
    painters = [corrector(True), native_flux(True, Wire("corrector", "MODEL"))]
    asked, loaders = request(CUPS, 11), [*models(True), *vlm_nodes]
    change = notes.CHANGE_VLM_SEARCH
    return searched(name, True, read, loaders, painters, change, asked, watchers())


def think_first() -> Graph:
    read = read_me(notes.text(notes.THINK_FIRST, notes.FLUX_FILES, notes.UNTESTED_VLM), 480)
    vlm = node("vlm", "VlmEndpoint", profile="mine", refresh=0, send_pictures=False)
    who = stack(LEFT, group_below(read), 320, vlm, *flux(True, corrector=False))
    prompt = node(
        "prompt", "PrimitiveStringMultiline", 0, "Prompt, as terse as you like", value=FOX
    )
    think = node(
        "think", "ThinkFirst", 110, prompt=Wire("prompt", "STRING"), vlm=VLM_WIRE, thinker="vlm"
    )
    expanded = Wire("think", "draft_prompt")
    shown = node("told", "PreviewAny", 300, "What it thought of", source=expanded)
    thought = stack(440, 0, 340, prompt, think, shown)
    around = [(400, below(thought) + 20), (820, below(thought) + 20)]
    given = {"flux": Wire("flux", "FLUX", around), "count": 2, "seed": 11, "batch_size": 1}
    plain = Wire("prompt", "STRING")
    painted = stack(
        860,
        0,
        360,
        node("after", "DraftSampler", 390, "Drafts, thought through", prompt=expanded, **given),
        node("before", "DraftSampler", 390, "Drafts, as typed", prompt=plain, **given),
    )
    pictures = [("after", "Thought through"), ("before", "As typed")]
    previews = [
        node(f"{name}_shown", "PreviewImage", 390, title, images=Wire(name, "images"))
        for name, title in pictures
    ]
    seen = stack(1300, 0, 700, *previews)
    return Graph(
        "think_first",
        [*read, *who, *thought, *painted, *seen],
        [
            Group("1 · Who thinks, and who paints", BLUE, who),
            Group("2 · What to paint", BLUE, thought),
            Group("3 · Paint", GREEN, painted),
            results_group(seen),
        ],
    )


def verifier_ensemble() -> Graph:
    read = read_me(notes.text(notes.ENSEMBLE, notes.ENSEMBLE_FILES), 470)
    server = node("server", "VlmEndpoint", profile="mine", refresh=0, send_pictures=False)
    vlm = node("vlm", "JudgeCheck", vlm=Wire("server", "vlm"), insist=False, refresh=0)
    who = stack(LEFT, group_below(read), 320, server, vlm)
    checklist = node(
        "checklist",
        "VerifierLoader",
        verifier="checklist",
        error=0.0,
        detector="(none)",
        vlm=VLM_WIRE,
    )
    clip = node("clip_score", "ClipScoreLoader", model=notes.PICKSCORE)
    reward = node("reward", "RewardLoader", model=notes.REWARD, base=notes.REWARD_BASE)
    jury = stack(420, 0, 320, checklist, clip, reward)
    judges = [Wire(name, "verifier") for name in ("checklist", "clip_score", "reward")]
    wired = {f"verifier_{i}": wire for i, wire in enumerate(judges, 1)}
    weights = {f"weight_{i}": 1.0 for i in range(1, 5)}
    joined = node("verifier", "VerifierEnsemble", **wired, gate=judges[0], **weights, shortlist=2)
    pictures = node("pictures", "LoadImageDataSetFromFolder", folder="my_pictures")
    beside = stack(840, 0, 300, joined, pictures)
    score = node(
        "score",
        "VerifierScore",
        560,
        images=Wire("pictures", "images"),
        prompt=CUPS,
        verifier=Wire("verifier", "verifier"),
        order="best first",
        keep=0,
    )
    judged = stack(1220, 0, 360, score)
    ranked = node(
        "ranked", "PreviewImage", 560, "Ranked, best first", images=Wire("score", "images")
    )
    title = "Report: every verifier's score"
    report = node("report", "PreviewAny", 250, title, source=Wire("score", "report"))
    shown = stack(1660, 0, 420, ranked, report)
    return Graph(
        "verifier_ensemble",
        [*read, *who, *jury, *beside, *judged, *shown],
        [
            Group("1 · Who looks on", BLUE, who),
            Group("2 · Who judges", BLUE, jury),
            Group("Joined, and what is judged", BLUE, beside),
            Group("Score and rank", GREEN, judged),
            results_group(shown),
        ],
    )
