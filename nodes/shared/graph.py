"""What a running node's result depends on, read from its graph."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from comfy_api.internal import _ComfyNodeInternal, first_real_override
from comfy_execution.graph import nodes as comfyui
from comfy_execution.graph_utils import is_link

from .schema import PREFIX

# They are to run again after a search that was ended early; what they paint is the same.
OWN_ROUNDS = {
    PREFIX + name
    for name in (
        *("ReflectionLoop", "ReflectionRound", "ReflectionStep", "ReflectionPause"),
        "PromptBatch",
    )
}


# How a person is asked changes nothing that is painted; the answer is part of the history.
WITHOUT_EFFECT = {(PREFIX + "ReflectionPause", name) for name in ("seconds", "last")}


class AlwaysNewError(Exception):
    """A node may give another result every time."""


def ancestry(dynprompt: Any, node_id: str) -> str | None:
    """A digest of a node and of all nodes before it: their types, values and wires, without ids and
    titles.

    None if one of the nodes may give another result every time.
    """
    try:
        return _digest(dynprompt, node_id, {})
    except AlwaysNewError:
        return None


def _digest(dynprompt: Any, node_id: str, known: dict[str, str]) -> str:
    if node_id not in known:
        node = dynprompt.get_node(node_id)
        kind, inputs = node["class_type"], node["inputs"]
        values = {
            name: [_digest(dynprompt, value[0], known), value[1]] if is_link(value) else value
            for name, value in inputs.items()
            if (kind, name) not in WITHOUT_EFFECT
        }
        described = [kind, values, _changed(node, node_id)]
        text = json.dumps(described, sort_keys=True, default=repr)
        known[node_id] = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return known[node_id]


def _changed(node: Mapping[str, Any], node_id: str) -> Any:
    """A node's fingerprint of files and the like that its inputs only name.

    ComfyUI asks for its cache; without a cache, the node is asked here, with the inputs that are
    known before it runs.
    """
    kind = node["class_type"]
    found = comfyui.NODE_CLASS_MAPPINGS[kind]
    ask = None if kind in OWN_ROUNDS else _fingerprint_of(found)
    if ask is None:
        return None
    if "is_changed" in node:
        answer = node["is_changed"]
    else:
        try:
            answer = ask(**_known_inputs(found, node, node_id))
        except Exception as error:  # whatever a stranger's node raises
            raise AlwaysNewError(kind) from error
    answers = answer if isinstance(answer, list) else [answer]
    if any(isinstance(one, float) and math.isnan(one) for one in answers):
        raise AlwaysNewError(kind)
    return answers


def _known_inputs(found: type, node: Mapping[str, Any], node_id: str) -> dict[str, Any]:
    """The inputs as ComfyUI gives them to a fingerprint: None for a wire, a choice's in a dict."""
    # Neither is public: a ComfyUI without them must still load the pack.
    from comfy_api.latest._io import build_nested_inputs
    from execution import get_input_data

    known, _, of_choices = get_input_data(node["inputs"], found, node_id)
    listed = getattr(found, "INPUT_IS_LIST", False)
    given = {name: values if listed else values[0] for name, values in known.items()}
    return build_nested_inputs(given, of_choices)


def _fingerprint_of(found: type) -> Callable[..., Any] | None:
    if issubclass(found, _ComfyNodeInternal):
        own = first_real_override(found, "fingerprint_inputs")
        return None if own is None else found.fingerprint_inputs
    return getattr(found, "IS_CHANGED", None)


def shown_at(hidden: Any) -> str:
    """The node on the user's screen that the running node belongs to."""
    return hidden.dynprompt.get_display_node_id(hidden.unique_id)
