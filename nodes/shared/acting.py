"""An actor of the core's registry, as it travels on a wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...reflectionflow_core.identity import ocr_identity
from ...reflectionflow_core.record import InputError
from ...reflectionflow_core.registry import ActorChoice, Row
from ..comfy.text import ComfyVlm
from .sockets import ActorHandle, VlmHandle

SHOWN = ("verifier", "writer", "inspector")  # who shows pictures to its model


def actor_handle(
    rows: Mapping[str, Row[Any]], vlm: VlmHandle | None, chosen: Mapping[str, Any]
) -> ActorHandle:
    """The handle of an actor in the core's registry; the first of the chosen values is its name.

    Raises InputError if it needs a vision-language model and has none, has one and needs none, or
    needs one that sees and the CLIP does not.
    """
    kind, name = next(iter(chosen.items()))
    if rows[name].asks_vlm and vlm is None:
        raise InputError(
            f"The {kind} {name} needs a vision-language model. Wire one into vlm: Vision model."
        )
    if not rows[name].asks_vlm and vlm is not None:
        others = " or ".join(other for other, row in rows.items() if row.asks_vlm)
        raise InputError(
            f"The {kind} {name} uses no vision-language model, but one is wired. Remove that wire, "
            f"or choose {others}."
        )
    if kind in SHOWN and vlm is not None and isinstance(vlm.vlm, ComfyVlm):
        vlm.vlm.check_sees()
    actor = rows[name].build(ActorChoice(**chosen), vlm and vlm.vlm)
    identity = {"ocr": ocr_identity()} if (kind, name) == ("verifier", "text") else {}
    return ActorHandle(actor, chosen, (vlm,) if vlm else (), identity)
