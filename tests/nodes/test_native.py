"""The corrector on ComfyUI's own MODEL, compared with the core's."""

from __future__ import annotations

import pytest
from comfy_server import found_by

FLOAT32 = 1e-5  # of outputs of about 4
EDITORS = (
    "FLUX.1 Kontext",
    "FLUX.1 Kontext that sees what was tried",
    "FLUX.2-dev",
    "FLUX.2 klein",
    "FLUX.2 klein base",
    "Qwen-Image-Edit",
    "Qwen-Image-Edit Plus",
    "Qwen-Image-Edit Plus that sees what was tried",
    "Qwen-Image-Edit 2511",
    "OmniGen 2",
    "LongCat-Image-Edit",
    "Boogu-Image Edit",
    "JoyAI-Image-Edit",
    "Mage-Flow Edit",
)
PACKED = ["FLUX.1 Kontext under TorchCompileModel"]
PACKED += [f"{n} in {w}" for n in ("FLUX.2 klein", "Qwen-Image-Edit Plus") for w in ("fp8", "int8")]
PLACED = ("FLUX.1-dev", "FLUX.2 klein", "Qwen-Image")
PAINTED_OVER = (
    *("Qwen-Image", "Z-Image", "Krea 2", "Stable Diffusion XL", "FLUX.1-dev", "Lumina-Image 2"),
    *("Stable Diffusion 3", "Stable Diffusion 1.5", "Chroma", "Anima", "ERNIE-Image"),
)
# Than the oldest ComfyUI.
NEWER = ("LongCat", "Boogu", "JoyAI", "Mage", "Krea 2", "Anima", "ERNIE", "int8,")
CASES = {
    "no picture": FLOAT32,
    "one picture": FLOAT32,
    "three samples, three pictures": FLOAT32,
    "three samples, one picture": FLOAT32,
    "alpha other than rank": FLOAT32,
    "no guidance embedding": FLOAT32,
    "sizes that differ": FLOAT32,
    "two correctors and the base in turn": FLOAT32,
    "after an exception": FLOAT32,
    "under patches of another node": FLOAT32,
    "under a ControlNet": FLOAT32,
    "under TorchCompileModel": FLOAT32,
    "ten steps of a sampler": FLOAT32,
    "CFG, a negative without a picture": FLOAT32,
    "CFG, a negative with another picture": FLOAT32,
    "a corrector in FLUX's own names": FLOAT32,
    "a corrector of PEFT, bf16, rsLoRA": FLOAT32,
    "shares added in place": 0,
    "weights in fp8": FLOAT32,
    "weights in scaled fp8": FLOAT32,
    "a style LoRA upon FLUX": FLOAT32,
    "a style LoRA, a tenth of FLUX loaded": FLOAT32,
    "pictures of the miniature, of 255": 2,
    "pictures of random weights, of 255": 2,
    **{f"an edit by {name}, of 255": 0 for name in (*EDITORS, *PACKED)},
    **{f"image to image by {name}, of 255": 0 for name in PAINTED_OVER},
    **{f"outside a place that {name} edits, of 255": 0 for name in PLACED},
    "outside a place of image to image, of 255": 0,
    "editing models taken wrongly": 0,
    **{
        f"{what} under {name}": 0
        for what in ("a picture", "an edit", "a correction")
        for name in ("EasyCache", "LazyCache")
    },
    "schedules": 1e-6,
    "tokens": 0,
    "weights patched again": 0,
    "models not refused": 0,
    "warnings missed": 0,
}
GGUF = ("weights in GGUF Q8_0", "weights in GGUF Q4_0", "weights in GGUF Q5_1")
INT8 = "a correction in int8"
MISTAKES = ("not: a column off", "not: the LoRA at nine tenths", "not: the time of the image")


def parity() -> dict[str, tuple[float, float]]:
    """Difference and scale of every case; in ComfyUI's own Python, without a server."""
    return found_by("native_parity.py", "--json")


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_the_core_makes(case: str) -> None:
    if case not in parity() and any(name in case for name in NEWER):
        pytest.skip("this ComfyUI does not know the model")
    off, scale = parity()[case]
    assert off <= CASES[case] < scale


@pytest.mark.parametrize("case", GGUF)
def test_it_is_what_the_core_makes_of_gguf(case: str) -> None:
    if case not in parity():
        pytest.skip("ComfyUI-GGUF is not among this ComfyUI's custom nodes")
    off, scale = parity()[case]
    assert off <= FLOAT32 < scale


def test_a_correction_loses_no_more_in_int8_than_a_picture() -> None:
    if INT8 not in parity():
        pytest.skip("this ComfyUI knows no weights in int8")
    off, scale = parity()[INT8]
    assert off == 0 < scale


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_comparison_would_notice_a_mistake(mistake: str) -> None:
    off, _ = parity()[mistake]
    assert off > 1e3 * FLOAT32


def test_every_case_is_looked_at() -> None:
    newer = {case for case in CASES if any(name in case for name in NEWER)}
    assert set(parity()) - {*GGUF, INT8} - newer == {*CASES, *MISTAKES} - newer
