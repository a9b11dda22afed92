"""One text encoder of Qwen3-VL 4B's true size through ComfyUI's Load CLIP: encodes and judges.

    python true_size_judge.py COMFYUI PACK FOLDER

writes a file of 4.4 GB with random fp8 weights into FOLDER, unless it is there, loads it with Load
CLIP as Krea 2's encoder, encodes a prompt, answers two questions about one picture from its logits,
encodes again, and prints seconds and memory as JSON.
"""

# ruff: noqa: E402
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "nodes"))
FOLDER = Path(sys.argv[3])
import native_setup  # isort: skip  # noqa: F401
import folder_paths
import torch
from comfy.model_management import current_loaded_models
from comfy.text_encoders import qwen3vl
from pack.nodes.comfy.text import ComfyVlm
from pack.reflectionflow_core.vlm.interface import Question
from PIL import Image
from safetensors.torch import save_file

import nodes

NAME = "qwen3vl_4b_random_fp8.safetensors"
PROMPT = "a red circle left of a blue square"
QUESTIONS = ("Is the circle red?", "Is the square left of the circle?")
FP8 = torch.float8_e4m3fn


def random_file(path: Path) -> None:
    """Random values of every weight's true shape; one of Yes, yes and No, no is likely each."""
    model = qwen3vl.te(model_type="qwen3vl_4b")(device="meta", dtype=torch.bfloat16)
    noise = torch.randn(2**22) * 0.02
    made = {}
    for name, weight in model.qwen3vl_4b.transformer.state_dict().items():
        count = weight.numel()
        values = (1 + noise) if "norm" in name else noise
        kind = FP8 if weight.ndim > 1 else torch.bfloat16
        values = values.to(kind).view(torch.uint8 if kind is FP8 else torch.int16)
        flat = values.repeat(count // len(values) + 1)[:count]
        made[named(name)] = flat.view(kind).reshape(weight.shape)
    tell_yes_and_no(made["model.language_model.embed_tokens.weight"])
    save_file(made, str(path))


def named(name: str) -> str:
    """A weight's name in the published files."""
    part, rest = name.split(".", 1)
    return f"model.language_model.{rest}" if part == "model" else f"model.visual.{rest}"


def tell_yes_and_no(embeddings: torch.Tensor) -> None:
    table = Path(qwen3vl.__file__).parent / "qwen25_tokenizer" / "vocab.json"
    tokens = json.loads(table.read_text(encoding="utf-8"))
    side = torch.randn(embeddings.shape[1]).sign() * 8  # far likelier than 150,000 random words
    for word, sign in {"Yes": 1, "yes": -1, "No": 1, "no": -1}.items():
        row = sign * side
        row[torch.randperm(len(row))[:8]] += 1  # a step of fp8 there: unequal, but not certain
        embeddings[tokens[word]] = row.to(embeddings.dtype)


def timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    began, cpu = time.monotonic(), time.process_time()
    made = work()
    seconds[name] = round(time.monotonic() - began, 1)
    seconds[f"{name}, CPU"] = round(time.process_time() - cpu, 1)
    sys.stderr.write(f"{name}: {seconds[name]} s, of the CPU {seconds[f'{name}, CPU']} s\n")
    return made


def measured() -> dict[str, Any]:
    path = FOLDER / NAME
    if not path.exists():  # in a process of its own, whose memory is not counted
        maker = get_context("fork").Process(target=random_file, args=(path,))
        maker.start()
        maker.join()
    folder_paths.add_model_folder_path("text_encoders", str(FOLDER))
    seconds: dict[str, float] = {}
    loader = nodes.CLIPLoader()
    (clip,) = timed(seconds, "load", lambda: loader.load_clip(NAME, type="krea2"))

    def encoded() -> torch.Tensor:
        return clip.encode_from_tokens(clip.tokenize(PROMPT), return_dict=True)["cond"].clone()

    vlm = ComfyVlm(clip)
    picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    before = timed(seconds, "encode", encoded)
    asked = [Question(text, (picture,)) for text in QUESTIONS]
    odds = timed(seconds, "judge", lambda: vlm.choose(asked, ("yes", "no")))
    after = timed(seconds, "encode again", encoded)
    return {
        "parameters": sum(p.numel() for p in clip.cond_stage_model.parameters()),
        "P(yes), P(no)": odds,
        "passes": vlm.usage.calls,
        "equal to the bit": torch.equal(before, after),
        "models loaded": len(current_loaded_models),
        "seconds": seconds,
        "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1),
    }


if __name__ == "__main__":
    with torch.inference_mode():
        sys.stdout.write(json.dumps(measured(), indent=1, default=str) + "\n")
