"""The nodes that load verifiers with their own weights, and the ensemble of several verifiers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..reflectionflow_core.flux.folders import read_json
from ..reflectionflow_core.identity import digest, verifier_identity
from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.registry import VERIFIERS, Row
from ..reflectionflow_core.verifiers.ensemble import EnsembleMember, EnsembleVerifier
from ..reflectionflow_core.verifiers.screened import SHORTLIST, ScreenedVerifier, behind_screen
from .comfy.diffusers_flux import explained_imports
from .shared.joined import JOINED, sharing
from .shared.model_files import missing, model_folders, stamp
from .shared.schema import output, schema
from .shared.sockets import ActorHandle, VerifierSocket
from .vlm import NONE, roots, vlm_folders

MEMBERS = 4  # of one ensemble
TEMPLATE = "template.txt"
CLIP_PLACES = "models/clip_vision, models/LLM, models/VLM or models/text_encoders"
REWARD_PLACES = "models/LLM, models/VLM or models/text_encoders"


class ClipScoreLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ClipScoreLoader",
            display_name="Verifier: CLIP score",
            description="Scores how well a picture fits the prompt as a whole: CLIP, PickScore or "
            "HPS v2 from a folder. Fast, but cannot judge counts and positions.",
            search_aliases=["clip", "pickscore", "hps", "aesthetic"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(clip_folders()) or [NONE],
                    tooltip=f"A folder of a CLIP model in {CLIP_PLACES}, as transformers saves it: "
                    "config.json, weights, tokenizer, preprocessor_config.json.",
                )
            ],
            outputs=[verifier_output()],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        if model is None or model in clip_folders():
            return True
        return missing(f"CLIP folder named {model}", CLIP_PLACES, "Download its whole folder.")

    @classmethod
    def fingerprint_inputs(cls, model: str | None = None) -> str:
        folder = clip_folders().get(model or "")
        return stamp(folder) if folder else ""

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        with explained_imports():
            from ..reflectionflow_core.verifiers.clip_score import load_clip_score
            from .comfy.memory import ComfyPlacement
        folder = clip_folders()[model]
        actor = load_clip_score(folder, device="cpu", placement=ComfyPlacement())
        spec = f"clip-score:{folder}"
        identity = {"verifier": verifier_identity(spec)}
        return io.NodeOutput(ActorHandle(actor, {"verifier": spec}, identity=identity))


class RewardLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "RewardLoader",
            display_name="Verifier: Image-Verifier (reward)",
            description="The paper's verifier, or one trained like it: a reward model on "
            "Qwen2.5-VL that ranks the pictures of one prompt.",
            search_aliases=["reward", "image verifier", "bradley terry"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(reward_folders()) or [NONE],
                    tooltip=f"Its folder in {REWARD_PLACES}. It must have a {TEMPLATE} with the "
                    "prompt template of its training.",
                ),
                io.Combo.Input(
                    "base",
                    options=list(vlm_folders()) or [NONE],
                    tooltip="The model from which it was trained; for the published one the folder "
                    "of Qwen2.5-VL-3B-Instruct.",
                ),
            ],
            outputs=[verifier_output()],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None, base: str | None = None) -> bool | str:
        if model is not None and model not in reward_folders():
            advice = f"Download it there, and put its {TEMPLATE} into it (see the help page)."
            return missing(f"reward model named {model}", REWARD_PLACES, advice)
        if base is not None and base not in vlm_folders():
            advice = "Download its whole folder into one of them."
            return missing(f"vision-language model named {base}", REWARD_PLACES, advice)
        return True

    @classmethod
    def fingerprint_inputs(cls, model: str | None = None, base: str | None = None) -> str:
        folders = reward_folders().get(model or ""), vlm_folders().get(base or "")
        return stamp(*filter(None, folders))

    @classmethod
    def execute(cls, model: str, base: str) -> io.NodeOutput:
        with explained_imports():
            from ..reflectionflow_core.verifiers.reward import load_reward
            from .comfy.memory import ComfyPlacement
        folder, its_base = reward_folders()[model], vlm_folders()[base]
        actor = load_reward(folder, its_base, device="cpu", placement=ComfyPlacement())
        spec = f"reward:{folder}"
        chosen = {"verifier": spec, "reward_base": str(its_base)}
        identity = {"verifier": verifier_identity(spec), "reward_base": digest(its_base)}
        return io.NodeOutput(ActorHandle(actor, chosen, identity=identity))


class VerifierEnsemble(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def verifier(number: int) -> io.Input:
            return VerifierSocket.Input(
                f"verifier_{number}",
                optional=number > 1,
                tooltip="From any verifier's loader, or from another ensemble.",
            )

        def weight(number: int) -> io.Input:
            return io.Float.Input(
                f"weight_{number}",
                default=1.0,
                min=0.01,
                max=100.0,
                step=0.05,
                tooltip=f"The weight of verifier_{number}.",
                extra_dict={"advanced": True},
            )

        numbers = range(1, MEMBERS + 1)
        return schema(
            "VerifierEnsemble",
            display_name="Verifier Ensemble",
            description="Combines several verifiers, each on its own scale, so that a picture "
            "that fools one of them must fool the others too. An optional gate alone decides "
            "what passes.",
            search_aliases=["combine judges", "combine verifiers", "gate", "rank"],
            inputs=[
                *map(verifier, numbers),
                VerifierSocket.Input(
                    "gate",
                    optional=True,
                    tooltip="Alone says whether a picture passes and what is unmet; pictures that "
                    "pass rank first. Its score counts only if it is also wired above.",
                ),
                *map(weight, numbers),
                VerifierSocket.Input(
                    "screen",
                    optional=True,
                    tooltip="A cheap verifier, such as a CLIP score. It ranks the pictures of a "
                    "batch, and the verifiers above look at the best of them only.",
                ),
                io.Int.Input(
                    "shortlist",
                    default=SHORTLIST,
                    min=1,
                    max=1024,
                    optional=True,
                    tooltip="With a screen: how many pictures of a batch the verifiers look at.",
                    extra_dict={"advanced": True},
                ),
                io.Boolean.Input(
                    "by_need",
                    default=False,
                    optional=True,
                    tooltip="Each need of the prompt is judged once, by the one of objects, text "
                    "and checklist that sees it best. Weights must be 1 then.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[verifier_output()],
        )

    @classmethod
    def execute(
        cls,
        gate: ActorHandle | None = None,
        screen: ActorHandle | None = None,
        shortlist: int = SHORTLIST,
        by_need: bool = False,
        **given: Any,
    ) -> io.NodeOutput:
        weighted = [
            (given[f"verifier_{n}"], float(given[f"weight_{n}"]))
            for n in range(1, MEMBERS + 1)
            if given.get(f"verifier_{n}") is not None
        ]
        if not weighted:
            raise InputError("The ensemble has no verifier. Wire verifier_1.")
        if by_need:
            if any(weight != 1 for _, weight in weighted):
                raise InputError(
                    "Weights have no effect with by_need. Set them to 1, or switch by_need off."
                )
            weighted = [(sharing([handle for handle, _ in weighted]), 1.0)]
        alone = len(weighted) == 1 and gate is None and (by_need or screen is not None)
        verifier = weighted[0][0] if alone else ensemble_of(weighted, gate)
        if screen is None:
            return io.NodeOutput(verifier)
        return io.NodeOutput(screened(verifier, screen, shortlist))


def ensemble_of(
    weighted: Sequence[tuple[ActorHandle, float]], gate: ActorHandle | None
) -> ActorHandle:
    """All verifiers as one; reports and saved runs name each of them."""
    everyone = [handle for handle, _ in weighted] + ([gate] if gate else [])
    chosen = {k: value for handle in everyone for k, value in handle.chosen.items() if value}
    identity = {k: value for handle in everyone for k, value in handle.identity.items()}
    chosen["verifier"] = "+".join(f"{weight:g}*{spec_of(handle)}" for handle, weight in weighted)
    if any("verifier" in handle.identity for handle, _ in weighted):
        identity["verifier"] = "+".join(
            f"{weight:g}*{handle.identity.get('verifier', spec_of(handle))}"
            for handle, weight in weighted
        )
    if gate:
        chosen["gate"] = spec_of(gate)
        identity |= {"gate": gate.identity["verifier"]} if "verifier" in gate.identity else {}
    actor = EnsembleVerifier(members_of(weighted), gate.actor if gate else None)
    vlms = dict.fromkeys(vlm for handle in everyone for vlm in handle.vlms)
    return ActorHandle(actor, chosen, tuple(vlms), identity | told_apart(everyone))


def told_apart(handles: Sequence[ActorHandle]) -> dict[str, str]:
    """A digest of all that was chosen, if members differ in more than their names: of choices with
    one name, such as two detectors, the others record only one."""
    each = [{**h.chosen, **h.identity} for h in handles]
    values: dict[str, set[str]] = {}
    for name, value in ((name, value) for one in each for name, value in one.items()):
        values.setdefault(name, set()).add(str(value))
    if not any(len(found) > 1 for name, found in values.items() if name != "verifier"):
        return {}
    known = json.dumps(each, sort_keys=True, default=str)
    return {"judges": hashlib.sha256(known.encode()).hexdigest()}


def screened(verifier: ActorHandle, screen: ActorHandle, shortlist: int) -> ActorHandle:
    """A verifier that looks at the best pictures of a batch only, by a screen."""
    member = EnsembleMember(spec_of(screen), screen.actor, spread_of(screen))
    name = spec_of(verifier)
    actor = behind_screen(member, verifier.actor, lowest_of(verifier), shortlist, name)
    chosen = {**screen.chosen, **verifier.chosen, "screen": member.name, "shortlist": shortlist}
    identity = {**screen.identity, **verifier.identity}
    if "verifier" not in verifier.identity:
        identity.pop("verifier", None)
    if "verifier" in screen.identity:
        identity["screen"] = screen.identity["verifier"]
    identity |= told_apart([verifier, screen])
    vlms = dict.fromkeys((*verifier.vlms, *screen.vlms))
    return ActorHandle(actor, chosen, tuple(vlms), identity)


def row_of(handle: ActorHandle) -> Row[Any] | None:
    """The row of a verifier; of those that share needs the first one's, which are alike."""
    return VERIFIERS.get(re.split("[:+]", handle.chosen["verifier"])[0])


def lowest_of(handle: ActorHandle) -> float | None:
    """What its scores are never below; None if there is no such number."""
    if isinstance(handle.actor, ScreenedVerifier):
        return handle.actor.lowest - 1
    if isinstance(handle.actor, EnsembleVerifier):
        return 0.0
    row = row_of(handle)
    return row.lowest if row else None


def members_of(weighted: Sequence[tuple[ActorHandle, float]]) -> list[EnsembleMember]:
    """The members by their specs, numbered if two are of one kind with different models."""
    specs = [spec_of(handle) for handle, _ in weighted]
    names = [
        spec if specs.count(spec) == 1 else f"{spec} {number}"
        for number, spec in enumerate(specs, start=1)
    ]
    return [
        EnsembleMember(name, handle.actor, spread_of(handle), weight)
        for name, (handle, weight) in zip(names, weighted, strict=True)
    ]


def spec_of(handle: ActorHandle) -> str:
    """The chosen verifier; an ensemble, and one behind a screen, in brackets."""
    spec = handle.chosen["verifier"]
    if isinstance(handle.actor, ScreenedVerifier):
        return f"({spec} behind {handle.actor.screen.name})"
    if not isinstance(handle.actor, EnsembleVerifier):
        return f"({spec})" if spec in JOINED else spec
    gate = handle.chosen.get("gate")
    return f"({spec} if {gate})" if gate else f"({spec})"


def spread_of(handle: ActorHandle) -> float:
    """The typical difference between its scores of clearly different pictures."""
    if isinstance(handle.actor, EnsembleVerifier | ScreenedVerifier):
        return 0.25
    row = row_of(handle)
    return row.spread if row else 1.0


def verifier_output() -> io.Output:
    return output(VerifierSocket, "verifier", "Judges.")


def clip_folders() -> dict[str, Path]:
    """The folders of CLIP models, by their path below a models folder."""
    folders = [*map(Path, folder_paths.get_folder_paths("clip_vision")), *roots()]
    return model_folders(folders, lambda folder: kind_of(folder) == "clip")


def reward_folders() -> dict[str, Path]:
    """The folders of reward models, by their path below a models folder."""
    return model_folders(roots(), lambda folder: (folder / TEMPLATE).is_file())


def kind_of(folder: Path) -> str:
    """The model_type of a folder; "" if it has none."""
    try:
        data = read_json(folder / "config.json")
    except InputError:
        return ""
    return str(data.get("model_type", "")) if isinstance(data, dict) else ""


VERIFIER_NODES = [ClipScoreLoader, RewardLoader, VerifierEnsemble]
