"""What eight questions about one picture cost, against one: time in pairs, and memory.

    PYTHONPATH=.:tests python tests/benchmarks/shared_pictures.py

Two random models of 90 million weights, made from configurations, on a picture of 768 x 768: the
cost does not depend on what is in the weights. Every measurement is a process of its own, on one
thread, in CPU time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import torch
from core.tiny_vlm import picture
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from reflectionflow_core.verifiers.checklist import FORM, question_about
from reflectionflow_core.verifiers.checks import Requirement, checks_of
from reflectionflow_core.vlm.local import LocalSettings, LocalVlm, load_vlm
from reflectionflow_core.vlm.texts import DATA_RULE
from train.qwen.tiny import save_processor, tokenizer_of, tokens_of

# A random model hardly thinks of yes or no, and its probabilities are what is tested.
WEIGHED = LocalSettings(least_mass=0)
KINDS = ("qwen2_5_vl", "qwen3_vl")
SUBJECTS = ("cup", "plate", "spoon", "table", "window", "cat", "lamp", "rug")
SIDE = 768  # pixels


def text_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "rope_parameters": {"rope_type": "default", "mrope_section": [8, 12, 12]},
    }


def model_of(kind: str, tokenizer: Any) -> Any:
    eyes = {"depth": 8, "hidden_size": 320, "intermediate_size": 864, "num_heads": 8}
    eyes |= {"out_hidden_size": 768}
    tokens = tokens_of(tokenizer)
    if kind == "qwen3_vl":
        eyes |= {"patch_size": 16, "deepstack_visual_indexes": [2, 4, 6]}
        text = {**text_config(tokenizer), "head_dim": 64}
        config = Qwen3VLConfig(text_config=text, vision_config=eyes, **tokens)
        return Qwen3VLForConditionalGeneration(config)
    eyes |= {"patch_size": 14, "window_size": 112, "fullatt_block_indexes": [3, 7]}
    config = Qwen2_5_VLConfig(text_config=text_config(tokenizer), vision_config=eyes, **tokens)
    return Qwen2_5_VLForConditionalGeneration(config)


def judge(kind: str, folder: Path) -> LocalVlm:
    torch.manual_seed(0)
    words = f"{DATA_RULE} {FORM} Is the {' '.join(SUBJECTS)} red? yes no system user assistant"
    tokenizer = tokenizer_of(words.split(), size=2000)  # about a token a word, as real ones
    is_third = kind == "qwen3_vl"
    save_processor(
        folder, tokenizer, 16 if is_third else 14, "Qwen3VL" if is_third else "Qwen2_5_VL"
    )
    model_of(kind, tokenizer).save_pretrained(folder)
    return load_vlm(folder, dtype="fp32", device="cpu", settings=WEIGHED)


def measured(kind: str, shares: bool, count: int, pairs: int) -> dict[str, Any]:
    """CPU seconds of one question and of `count`, one after the other, `pairs` times; megabytes."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        vlm = judge(kind, Path(folder))
    vlm.shares = shares
    image = picture(size=(SIDE, SIDE))
    requirements = [
        Requirement(statement=f"a red {what}", question=f"Is the {what} red?") for what in SUBJECTS
    ]
    asked = [question_about(check, image) for check in checks_of(requirements, FORM)[:count]]
    before = peak()
    seconds: dict[int, list[float]] = {1: [], count: []}
    for number in (1, count) * (pairs + 1):
        began = process_time()
        vlm.choose(asked[:number], ("yes", "no"))
        seconds[number].append(process_time() - began)
    tokens = vlm.usage.prompt_tokens // vlm.usage.calls
    weights = sum(parameter.numel() for parameter in vlm.model.parameters())
    one, many = seconds[1][1:], seconds[count][1:]  # the first ones also warm up
    return {
        "one": median(one),
        "many": median(many),
        "ratio": median(b / a for a, b in zip(one, many, strict=True)),
        "megabytes": peak() - before,
        "tokens": tokens,
        "weights": weights,
    }


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=len(SUBJECTS))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--kind", choices=KINDS, help="only this one, here, as JSON")
    parser.add_argument("--apart", action="store_true", help="with --kind: every question whole")
    given = parser.parse_args()
    if given.kind:
        found = measured(given.kind, not given.apart, given.questions, given.pairs)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    sys.stdout.write(
        f"| model | pictures' keys and values | 1 question | {given.questions} questions | ratio | "
        "memory above the model |\n|---|---|---|---|---|---|\n"
    )
    for kind in KINDS:
        for apart in ([], ["--apart"]):
            numbers = ["--questions", str(given.questions), "--pairs", str(given.pairs)]
            f = in_a_process("--kind", kind, *numbers, *apart)
            how = "for every question" if apart else "once"
            sys.stdout.write(
                f"| {kind}, {f['weights'] / 1e6:.0f} million weights, {f['tokens']} tokens | {how} "
                f"| {f['one']:.2f} s | {f['many']:.2f} s | {f['ratio']:.2f} "
                f"| {f['megabytes']:.0f} MB |\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
