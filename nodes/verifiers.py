"""The nodes that make verifiers with weights of their own, and one verifier out of several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..reflectionflow_core.flux.folders import read_json
from ..reflectionflow_core.identity import digest, verifier_identity
from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.registry import VERIFIERS
from ..reflectionflow_core.verifiers.ensemble import EnsembleMember, EnsembleVerifier
from .comfy.diffusers_flux import explained_imports
from .loaders import CATEGORY
from .shared.model_files import missing, model_folders, stamp
from .shared.schema import schema
from .shared.sockets import Seat, VerifierSocket
from .vlm import NONE, roots, vlm_folders

SEATS = 4  # verifiers of one ensemble
TEMPLATE = "template.txt"
CLIP_PLACES = "models/clip_vision, models/LLM, models/VLM or models/text_encoders"
REWARD_PLACES = "models/LLM, models/VLM or models/text_encoders"


class ClipScoreLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ClipScoreLoader",
            display_name="Verifier: CLIP score",
            category=CATEGORY,
            description="Scores how well a picture fits the prompt as a whole: CLIP, PickScore or "
            "HPS v2 from a folder. Quick, and blind to counts and places.",
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
        known = {"verifier": verifier_identity(spec)}
        return io.NodeOutput(Seat(actor, {"verifier": spec}, identity=known))


class RewardLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "RewardLoader",
            display_name="Verifier: Image-Verifier (reward)",
            category=CATEGORY,
            description="The paper's own verifier, or one that was trained like it: ranks the "
            "pictures of one prompt by a reward model on Qwen2.5-VL.",
            search_aliases=["reward", "image verifier", "bradley terry"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(reward_folders()) or [NONE],
                    tooltip=f"Its folder in {REWARD_PLACES}. A folder counts as one if it has a "
                    f"{TEMPLATE}: the words around the prompt that it was trained with.",
                ),
                io.Combo.Input(
                    "base",
                    options=list(vlm_folders()) or [NONE],
                    tooltip="The model that it was trained from: the folder of "
                    "Qwen2.5-VL-3B-Instruct for the published one.",
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
        return "; ".join(stamp(folder) for folder in folders if folder)

    @classmethod
    def execute(cls, model: str, base: str) -> io.NodeOutput:
        with explained_imports():
            from ..reflectionflow_core.verifiers.reward import load_reward
            from .comfy.memory import ComfyPlacement
        folder, below = reward_folders()[model], vlm_folders()[base]
        actor = load_reward(folder, below, device="cpu", placement=ComfyPlacement())
        chosen = {"verifier": f"reward:{folder}", "reward_base": str(below)}
        known = {"verifier": verifier_identity(chosen["verifier"]), "reward_base": digest(below)}
        return io.NodeOutput(Seat(actor, chosen, identity=known))


class VerifierEnsemble(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def one(number: int) -> Iterator[io.Input]:
            yield VerifierSocket.Input(
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
                tooltip=f"How much verifier_{number} counts beside the others.",
                extra_dict={"advanced": True},
            )

        numbers = range(1, SEATS + 1)
        return schema(
            "VerifierEnsemble",
            display_name="Verifier Ensemble",
            category=CATEGORY,
            description="Several verifiers as one, each on its own scale: a picture that fools one "
            "of them has to fool the others too. One of them, or another, may be the gate that "
            "says what passes.",
            search_aliases=["combine verifiers", "gate", "rank"],
            inputs=[
                *(each for number in numbers for each in one(number)),
                VerifierSocket.Input(
                    "gate",
                    optional=True,
                    tooltip="Says alone whether a picture passes and what is unmet; what passes "
                    "comes first. Its score does not count, unless it is wired above as well.",
                ),
                *map(weight, numbers),
            ],
            outputs=[verifier_output()],
        )

    @classmethod
    def execute(cls, gate: Seat | None = None, **given: Any) -> io.NodeOutput:
        seats = [
            (given[f"verifier_{n}"], float(given[f"weight_{n}"]))
            for n in range(1, SEATS + 1)
            if given.get(f"verifier_{n}") is not None
        ]
        if not seats:
            raise InputError("An ensemble without verifiers judges nothing. Wire verifier_1.")
        return io.NodeOutput(joined(seats, gate))


def joined(seats: list[tuple[Seat, float]], gate: Seat | None) -> Seat:
    """One seat for all; the report and a saved run name every one of them."""
    names = [spec_of(seat) for seat, _ in seats]
    members = [
        # Numbered where the same kind has another model behind it.
        EnsembleMember(
            name if names.count(name) == 1 else f"{name} {i}", s.actor, spread_of(s), weight
        )
        for i, (name, (s, weight)) in enumerate(zip(names, seats, strict=True), 1)
    ]
    everyone = [seat for seat, _ in seats] + ([gate] if gate else [])
    chosen = {key: value for seat in everyone for key, value in seat.chosen.items() if value}
    chosen["verifier"] = "+".join(f"{weight:g}*{spec_of(seat)}" for seat, weight in seats)
    weights = {key: value for seat in everyone for key, value in seat.identity.items()}
    if any("verifier" in seat.identity for seat, _ in seats):
        told = [f"{w:g}*{s.identity.get('verifier', spec_of(s))}" for s, w in seats]
        weights["verifier"] = "+".join(told)
    if gate:
        chosen["gate"] = spec_of(gate)
        weights |= {"gate": gate.identity["verifier"]} if "verifier" in gate.identity else {}
    actor = EnsembleVerifier(members, gate.actor if gate else None)
    eyes = dict.fromkeys(eyes for seat in everyone for eyes in seat.eyes)
    return Seat(actor, chosen, tuple(eyes), weights)


def spec_of(seat: Seat) -> str:
    """What was chosen, in brackets if it is several already."""
    spec = seat.chosen["verifier"]
    if not isinstance(seat.actor, EnsembleVerifier):
        return spec
    gate = seat.chosen.get("gate")
    return f"({spec} if {gate})" if gate else f"({spec})"


def spread_of(seat: Seat) -> float:
    """By how much its scores of clearly different pictures differ."""
    if isinstance(seat.actor, EnsembleVerifier):
        return 0.25
    row = VERIFIERS.get(seat.chosen["verifier"].partition(":")[0])
    return row.spread if row else 1.0


def verifier_output() -> io.Output:
    return VerifierSocket.Output("verifier", display_name="verifier", tooltip="Judges.")


def clip_folders() -> dict[str, Path]:
    """The folders of CLIP models, by their path below the place where they lie."""
    places = [*map(Path, folder_paths.get_folder_paths("clip_vision")), *roots()]
    return model_folders(places, lambda folder: kind_of(folder) == "clip")


def reward_folders() -> dict[str, Path]:
    """The folders of reward models, by their path below the place where they lie."""
    return model_folders(roots(), lambda folder: (folder / TEMPLATE).is_file())


def kind_of(folder: Path) -> str:
    """The model_type of a folder; "" if it has none."""
    try:
        told = read_json(folder / "config.json")
    except InputError:
        return ""
    return str(told.get("model_type", "")) if isinstance(told, dict) else ""


VERIFIER_NODES = [ClipScoreLoader, RewardLoader, VerifierEnsemble]
