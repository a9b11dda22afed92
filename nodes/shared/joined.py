"""What the Verifier Loader builds for judges that share a prompt's needs: "objects+text"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from ...reflectionflow_core.record import InputError
from ...reflectionflow_core.registry import VERIFIERS, by_need
from ...reflectionflow_core.verifiers.spec import BY_NEED
from .acting import actor_handle
from .detectors import NO_DETECTOR, objects_handle
from .sockets import ActorHandle, VlmHandle

# Every two of them and all three, in the order of BY_NEED.
JOINED = tuple("+".join(names) for count in (2, 3) for names in combinations(BY_NEED, count))


def joined_handle(
    spec: str,
    vlm: VlmHandle | None = None,
    detector: str = NO_DETECTOR,
    model: Any = None,
    clip: Any = None,
    ground: bool = False,
) -> ActorHandle:
    """The verifier of one of JOINED.

    Raises InputError without a vision-language model for the checklist, and with one that nobody
    asks.
    """
    names = spec.split("+")
    if "checklist" in names and vlm is None:
        raise InputError(
            f"The verifier {spec} needs a vision-language model. Wire one into vlm, or choose "
            "objects+text, which needs none."
        )
    if "checklist" not in names and vlm is not None:
        raise InputError(
            f"The verifier {spec} uses no vision-language model, but one is wired. Remove that "
            f"wire, or choose {spec}+checklist."
        )
    return sharing([_handle(name, vlm, detector, model, clip, ground) for name in names])


def sharing(handles: Sequence[ActorHandle]) -> ActorHandle:
    """Verifiers that share a prompt's needs; raises InputError for others than those of BY_NEED."""
    judges = {handle.chosen["verifier"]: handle.actor for handle in handles}
    spec = "+".join(judges)
    if len(judges) < len(handles) or not {*judges} <= {*BY_NEED}:
        raise InputError(
            f"{spec} cannot share a prompt's needs. Wire two or three of {', '.join(BY_NEED)}, "
            "each once, or switch by_need off."
        )
    chosen = {key: value for handle in handles for key, value in handle.chosen.items()}
    identity = {key: value for handle in handles for key, value in handle.identity.items()}
    vlms = dict.fromkeys(vlm for handle in handles for vlm in handle.vlms)
    return ActorHandle(by_need(judges), {**chosen, "verifier": spec}, tuple(vlms), identity)


def _handle(
    name: str, vlm: VlmHandle | None, detector: str, model: Any, clip: Any, ground: bool
) -> ActorHandle:
    if name == "objects":
        return objects_handle(detector, model, clip)
    asks = name == "checklist"
    chosen = {"verifier": name} | ({"ground": ground or None} if asks else {})
    return actor_handle(VERIFIERS, vlm if asks else None, chosen)
