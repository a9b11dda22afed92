"""What the nodes make of published checkpoints of true size, in ComfyUI's own loaders."""

from __future__ import annotations

from typing import Any

import pytest
from comfy_server import found_by


def found() -> dict[str, Any]:
    """By name of a list of tests/checkpoints; see native_checkpoints.py."""
    return found_by("native_checkpoints.py")


@pytest.mark.parametrize("name", ["flux1_dev", "flux1_dev_diffusers"])
def test_the_corrector_takes_flux_1_in_both_layouts(name: str) -> None:
    assert found()[name] == {"kind": "Flux", "corrector": "taken", "editor": "taken"}


@pytest.mark.parametrize(
    ("name", "kind", "edits"),
    [
        ("flux2_dev", "Flux2", True),
        ("qwen_image", "QwenImage", True),
        ("z_image", "Lumina2", False),
        ("krea2", "Krea2", False),
    ],
)
def test_others_are_refused_as_flux_1_and_only_editing_models_edit(
    name: str, kind: str, edits: bool
) -> None:
    model = found()[name]
    if model is None:
        pytest.skip(f"this ComfyUI does not know {kind}")
    assert model["kind"] == kind
    assert model["corrector"].startswith(f"This MODEL is not FLUX.1 ({kind})")
    refused = f"This MODEL ({kind}) is not an editing model"
    assert model["editor"] == "taken" if edits else model["editor"].startswith(refused)


def test_the_published_correctors_shapes_fit_comfyuis_flux() -> None:
    assert found()["corrector"] == {"linears": 343, "fitting": 343, "published": 343}
