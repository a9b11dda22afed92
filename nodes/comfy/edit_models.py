"""Models that edit a picture by instruction, and how each is given picture and instruction.

Each gets what the nodes of its official template make; if its text encoder looks at the picture
too, ComfyUI's own node shows it. The corrector of this pack is not among them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Protocol

import node_helpers
import torch
from torch import Tensor

from ...reflectionflow_core.record import InputError
from .chat import holds_a_picture
from .families import Family
from .sampling import Conditioning

Pair = tuple[Conditioning, Conditioning]  # positive and negative
REFERENCES, METHOD = "reference_latents", "reference_latents_method"


class TextPainter(Protocol):
    """What an EditModel needs of a painter."""

    @property
    def clip(self) -> Any: ...

    @property
    def vae(self) -> Any: ...

    @property
    def negative_text(self) -> str | None:
        """None where no negative is used."""
        ...

    def conditionings(self, text: str) -> Pair: ...

    def guided(self, positive: Conditioning) -> Conditioning:
        """With the painter's guidance; raises InputError if another model's CLIP made it."""
        ...


Reader = Callable[[TextPainter, str, Sequence[Tensor]], Pair]


@dataclass(frozen=True)
class EditModel:
    """One kind of editing model.

    `read` makes the conditionings of a text and of at most `most` pictures, the one to edit first.
    `called` is the word that its prompts number pictures with. `named` matches the names of its
    files and distinguishes it from siblings of the same architecture; "" if all of them edit.
    `as_template` has the settings of its official template that differ from its family's.
    """

    name: str
    read: Reader = field(repr=False)
    most: int
    called: str = "Image"
    named: str = ""
    as_template: Mapping[str, Any] = field(default_factory=dict)

    @property
    def looks(self) -> bool:
        """Whether its text encoder looks at the pictures."""
        return isinstance(self.read, _ByNode)


def _with_latents(painter: TextPainter, text: str, pictures: Sequence[Tensor]) -> Pair:
    """CLIP Text Encode, and a Reference Latent for each picture."""
    return _referring(painter.conditionings(text), [painter.vae.encode(p) for p in pictures])


def _referring(pair: Pair, references: list[Tensor]) -> Pair:
    positive, negative = (_with(each, {REFERENCES: references}) for each in pair)
    return positive, negative


def _with(conditioning: Conditioning, values: Mapping[str, Any]) -> Conditioning:
    return node_helpers.conditioning_set_values(conditioning, values)


@dataclass(frozen=True)
class _ByNode:
    """A Reader by one of ComfyUI's nodes, which shows the pictures to the text encoder too.

    `pictures` names the node's inputs for them, or begins the names inside its input "images",
    numbered from `first`. Some nodes make the negative as well.
    """

    module: str
    node: str
    pictures: tuple[str, ...] | str
    first: int = 1
    negative_too: bool = False
    method: str = ""

    def __call__(self, painter: TextPainter, text: str, pictures: Sequence[Tensor]) -> Pair:
        shown, negative = self._shown(pictures), painter.negative_text
        more = {"negative_prompt": negative or ""} if self.negative_too else {}
        made = self._made(painter, prompt=text, vae=painter.vae, **more, **shown)
        asked = painter.guided(made[0]), made[0]
        if negative is not None and self.negative_too:
            asked = asked[0], made[1]
        elif negative is not None:
            (blank,) = self._made(painter, prompt=negative, **shown)
            asked = asked[0], _with(blank, {REFERENCES: made[0][0][1][REFERENCES]})
        if not self.method:
            return asked
        positive, other = (_with(each, {METHOD: self.method}) for each in asked)
        return positive, other

    def _made(self, painter: TextPainter, **given: Any) -> tuple[Any, ...]:
        return _node(self.module, self.node).execute(clip=painter.clip, **given).args

    def _shown(self, pictures: Sequence[Tensor]) -> dict[str, Any]:
        if isinstance(self.pictures, tuple):
            return dict(zip(self.pictures, pictures, strict=False))
        numbered = enumerate(pictures, self.first)
        return {"images": {f"{self.pictures}{number}": each for number, each in numbered}}


def _node(module: str, name: str) -> Any:
    try:
        return getattr(import_module(f"comfy_extras.{module}"), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"This ComfyUI has no node {name}, which shows this MODEL the picture. Update ComfyUI."
        ) from error


KONTEXT = EditModel(
    "FLUX.1 Kontext", _with_latents, 4, named="kontext", as_template={"guidance": 2.5}
)
SEVERAL = ("image1", "image2", "image3")
PLUS = _ByNode("nodes_qwen", "TextEncodeQwenImageEditPlus", SEVERAL)
ONE = _ByNode("nodes_qwen", "TextEncodeQwenImageEdit", ("image",))
QWEN_PLUS = EditModel(
    *("Qwen-Image-Edit Plus", PLUS, 3, "Picture", "^(?!.*2511).*(2509|edit.?plus|firered)"),
    as_template={"cfg": 4.0, "shift": 3.0},
)
QWEN_2511 = EditModel(
    *("Qwen-Image-Edit 2511", replace(PLUS, method="index_timestep_zero")),
    *(3, "Picture", "2511"),
    as_template={"cfg": 4.0, "shift": 3.1},
)
QWEN_EDIT = EditModel(
    *("Qwen-Image-Edit", ONE, 1, "Picture", "qwen.?image.?edit"),
    as_template={"cfg": 2.5, "shift": 3.0},
)
# By the class of a model's configuration in ComfyUI; where no file is known, the first.
EDIT_MODELS: Mapping[str, Sequence[EditModel]] = {
    "Flux": (KONTEXT,),
    "Flux2": (EditModel("FLUX.2", _with_latents, 10),),
    "QwenImage": (QWEN_PLUS, QWEN_2511, QWEN_EDIT),
    "Omnigen2": (EditModel("OmniGen 2", _with_latents, 4, as_template={"steps": 20, "cfg": 5.0}),),
    "LongCatImage": (
        EditModel(
            *("LongCat-Image-Edit", replace(ONE, method="index"), 1),
            named="edit",
            as_template={"steps": 50, "cfg": 4.5},
        ),
    ),
    "Boogu": (
        EditModel(
            "Boogu-Image Edit",
            _ByNode("nodes_boogu", "TextEncodeBooguEdit", "image_", negative_too=True),
            16,
            named="edit",
            as_template={"steps": 25, "cfg": 3.5, "sampler": "dpmpp_2m"},
        ),
    ),
    "MageFlow": (
        EditModel(
            "Mage-Flow Edit",
            _ByNode("nodes_mage", "TextEncodeMageFlowEdit", "image_", negative_too=True),
            16,
            named="edit",
            as_template={"steps": 30, "cfg": 5.0},
        ),
    ),
    "JoyImage": (
        EditModel(
            "JoyAI-Image-Edit",
            _ByNode("nodes_joyimage", "TextEncodeJoyImageEdit", "image", 0),
            6,
            as_template={"steps": 40, "cfg": 4.0, "scheduler": "normal"},
        ),
    ),
}
# Names of files of siblings that were trained to paint and not to edit.
ONLY_PAINT: Mapping[str, str] = {
    "Flux": r"flux.?1.?(dev|schnell)",
    "QwenImage": r"qwen.?image.?(2512|distill|bf16|fp8|q\d)",
    "LongCatImage": "longcat",
    "Boogu": "boogu",
    "MageFlow": "mage.?flow",
}
INSTEAD = (
    "Load FLUX.1 Kontext, FLUX.2, Qwen-Image-Edit or another editing model, or use Image to Image "
    "Corrector."
)


def edit_model_of(model: Any, files: str = "") -> EditModel:
    """How to edit with a MODEL; raises InputError for one that cannot.

    `files` are the names of the files that it was loaded from, as far as they are known.
    """
    known, files = _editors_of(model), files.lower()
    if not known:
        kind = type(model.model).__name__
        raise InputError(
            f"This MODEL ({kind}) is not an editing model that is known here. {INSTEAD}"
        )
    paints = ONLY_PAINT.get(_class_of(model))
    if (editor := _named(known, files)) is None and paints and re.search(paints, files):
        raise InputError(
            f"This MODEL ({files}) paints from text and was not trained to edit. {INSTEAD}"
        )
    return editor or known[0]


def edits_as(editor: EditModel, family: Family) -> Family:
    """How a model of that family paints when it edits; a distilled one keeps its steps and cfg."""
    kept = ("steps", "cfg") if family.distilled else ()
    values = {key: value for key, value in editor.as_template.items() if key not in kept}
    return replace(family, name=editor.name, **values)


def surely_edits(model: Any, files: str = "") -> EditModel | None:
    """Like `edit_model_of`, for a MODEL that surely edits by its kind or its files; else None."""
    known = _editors_of(model)
    certain = known[:1] if (known and not known[0].named) or _marked(model) else ()
    return _named(known, files.lower()) or next(iter(certain), None)


def check_looks(editor: EditModel, clip: Any) -> None:
    """InputError if the editor's text encoder must see pictures but cannot in this ComfyUI."""
    if isinstance(editor.read, _ByNode):
        _node(editor.read.module, editor.read.node)
    blank = torch.zeros(1, 64, 64, 3)
    if editor.looks and not holds_a_picture(clip.tokenize("x", images=[blank])):
        raise InputError(
            f"This CLIP sees no pictures, and {editor.name} needs one that does. Load the text "
            "encoder of its official template, whose name has VL in it."
        )


def _editors_of(model: Any) -> Sequence[EditModel]:
    layered = _method(model) == "negative_index"  # Qwen-Image-Layered takes pictures apart
    return () if layered else EDIT_MODELS.get(_class_of(model), ())


def _class_of(model: Any) -> str:
    return type(getattr(model.model, "model_config", None)).__name__


def _marked(model: Any) -> bool:
    """Whether the weights say how they take pictures, as those of Qwen-Image-Edit 2511 do."""
    return _class_of(model) == "QwenImage" and _method(model) == "index_timestep_zero"


def _method(model: Any) -> str:
    config = getattr(model.model, "model_config", None)
    return getattr(config, "unet_config", {}).get("default_ref_method", "")


def _named(known: Sequence[EditModel], files: str) -> EditModel | None:
    return next((e for e in known if e.named and re.search(e.named, files)), None)
