"""Vocabularies that ComfyUI reads from a model's weights, or that a copy of ComfyUI may lack."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch

TEXT = "is it a red circle or a small blue square on the left of the picture yes no answer alone"
QWEN35_SPECIAL = 248_044  # Qwen3.5's first token that no text has
GEMMA4_IMAGE = 258_880  # the token that stands for a picture in every Gemma 4
GEMMA4_SPECIAL = {
    "<pad>": 0,
    "<eos>": 1,
    "<bos>": 2,
    "<unk>": 3,
    "<|turn>": 105,
    "<turn|>": 106,
    "<|image>": 255_999,
    "<image|>": 258_882,
    "<|image|>": GEMMA4_IMAGE,
}


def gemma3_pieces() -> torch.Tensor:
    """A sentencepiece model of a few hundred pieces, as bytes."""
    import sentencepiece  # pyright: ignore[reportMissingImports]

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.split() * 20),
        model_writer=made,
        vocab_size=330,
        byte_fallback=True,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        user_defined_symbols=["yes", "no"],
        minloglevel=2,
    )
    return torch.frombuffer(bytearray(made.getvalue()), dtype=torch.uint8)


def piece_count(pieces: torch.Tensor) -> int:
    import sentencepiece  # pyright: ignore[reportMissingImports]

    return sentencepiece.SentencePieceProcessor(model_proto=pieces.numpy().tobytes()).piece_size()


def gemma4_json() -> torch.Tensor:
    """A tokenizers file that knows a word for every token, and Gemma 4's marks at their places."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    taken = set(GEMMA4_SPECIAL.values())
    made = words()
    free = (place for place in count() if place not in taken)
    vocabulary = {next(made): next(free) for _ in range(GEMMA4_IMAGE + 3 - len(taken))}
    tokenizer = Tokenizer(models.WordLevel({**vocabulary, **GEMMA4_SPECIAL}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in GEMMA4_SPECIAL])
    return torch.frombuffer(bytearray(tokenizer.to_str().encode()), dtype=torch.uint8)


def words() -> Iterator[str]:
    for length in count(1):
        yield from map("".join, product(ascii_lowercase, repeat=length))


def whole_qwen35(family: Any) -> None:
    """Gives ComfyUI's Qwen3.5 a vocabulary of its merges, where its own is absent."""
    folder = Path(family.__file__).parent / "qwen35_tokenizer"
    if (folder / "vocab.json").exists():
        return
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    copy = Path(tempfile.mkdtemp()) / folder.name
    shutil.copytree(folder, copy)
    merges = (copy / "merges.txt").read_text(encoding="utf-8").splitlines()
    pairs = ["".join(m.split()) for m in merges if m and not m.startswith("#version")]
    pieces = dict.fromkeys([*sorted(bytes_to_unicode().values()), *pairs])
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    vocabulary |= {f"unused{place}": place for place in range(len(vocabulary), QWEN35_SPECIAL)}
    (copy / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    family.__file__ = str(copy.parent / "qwen35.py")
