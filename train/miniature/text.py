"""The miniature's tokenizers and text encoders: whole words in, meaning out.

The encoders are first taught to name what a text asks for, with a small reader that is then thrown
away. Without this the transformer learns to paint long before the text means anything to it, and
what only the T5 path carries (the reflection) is never learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from reflectionflow_core.flux.text import corrector_text
from reflectionflow_core.miniature.detector import BLOB
from reflectionflow_core.miniature.evolver import POSITIONS, is_sized, position_of, spelled_out
from reflectionflow_core.miniature.judge import Fault, faults
from reflectionflow_core.miniature.prompts import COUNTS, RELATIONS, Spec, plural
from reflectionflow_core.miniature.world import COLOURS, SHAPES, SIZES, Scene
from reflectionflow_core.writers.template import TemplateWriter
from train.fit import Draw
from train.miniature.scenes import any_prompt, compose, flawed, training_layout

# Tokens of either text; FLUX pads every prompt to one length and attends to the padding too.
LENGTH = 40
_WORDS = (
    "a an the photo picture image drawing of and in corners top bottom left right center above "
    "below between add remove turn into recolor move make give another color missing extra fix "
    "this is not must be that none them blob one"
)
END = "</w>"  # of a word
_NONE = 0

_SHAPE = {name: i for i, name in enumerate(("", *SHAPES, BLOB))}
_COLOUR = {name: i for i, name in enumerate(("", *COLOURS, BLOB))}
_SIZE = {name: i for i, name in enumerate(("", *SIZES))}
_RELATION = {name: i for i, name in enumerate(("", *RELATIONS))}
_OPS = ("add", "remove", "turn", "recolor", "move", "make", "give")
_GROUPS = 3  # groups in a prompt, at most
_PROMPT_VARIABLES, _EDIT_VARIABLES = 4 * _GROUPS + 2, 10
_VARIABLES = _PROMPT_VARIABLES + _EDIT_VARIABLES + 3 * len(POSITIONS)
_CLASSES = max(map(len, (_SHAPE, _COLOUR, _SIZE, _RELATION, _OPS)))
_UNKNOWN = -100  # what cross_entropy leaves out


def vocabulary() -> list[str]:
    """Every word that the grammar, the writer and the evolver can say."""
    shapes = [word for shape in SHAPES for word in (shape, plural(shape))]
    return sorted({*_WORDS.split(), *shapes, *COLOURS, *SIZES, *COUNTS})


def t5_tokenizer() -> T5Tokenizer:
    """Unigram over whole words; letters are the fallback for anything else."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'[]-:;!?()\u2581"
    words = [f"\u2581{word}" for word in (*vocabulary(), "[Reflexion]")]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((word, -1.0) for word in words)]
    pieces += [(letter, -8.0) for letter in letters]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)


def clip_tokenizer() -> CLIPTokenizer:
    """Byte-pair encoding until every word of the grammar is one token.

    Not by `tokenizers`: its trainer numbers tokens in another order in every process, and a resumed
    training would read other words than it began with.
    """
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,'[]"]
    merges: Any = merges_of([*vocabulary(), ","])  # the type of the argument is wrong
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + END for letter in letters)]
    pieces += ("".join(pair) for pair in merges)
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)


def merges_of(words: Sequence[str]) -> list[tuple[str, str]]:
    """The merges of byte-pair encoding that make each word one token: the most frequent pair first,
    of equally frequent ones the last in the alphabet."""
    parts = [[*word[:-1], word[-1] + END] for word in words]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in parts for pair in pairwise(word)):
        pair = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(pair)
        parts = [_merged(word, pair) for word in parts]
    return merges


def _merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in word:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


class Encoders(nn.Module):
    """Both text encoders as FLUX uses them: T5's states and CLIP's pooled vector."""

    def __init__(self) -> None:
        super().__init__()
        self.t5_tokenizer, self.clip_tokenizer = t5_tokenizer(), clip_tokenizer()
        self.t5 = T5EncoderModel(
            T5Config(
                vocab_size=len(self.t5_tokenizer),
                d_model=128,
                d_kv=32,
                num_heads=4,
                d_ff=256,
                num_layers=2,
                dropout_rate=0.0,
                feed_forward_proj="gated-gelu",
            )
        )
        self.clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(self.clip_tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=LENGTH,
                **_special_tokens(self.clip_tokenizer),
            )
        )

    def forward(self, t5_texts: Sequence[str], clip_texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """T5 states (n, LENGTH, 128) and pooled CLIP vectors (n, 64)."""
        words = _ids(self.t5_tokenizer, t5_texts).to(self.t5.device)
        states = self.t5(words, return_dict=False)[0]
        pooled = self.clip(_ids(self.clip_tokenizer, clip_texts).to(self.clip.device)).pooler_output
        return states, pooled


def _special_tokens(tokenizer: Any) -> dict[str, Any]:
    # CLIP pools at the first end token of its configuration, so that must be the tokenizer's.
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: getattr(tokenizer, name) for name in names}


def _ids(tokenizer: T5Tokenizer | CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    encoded = tokenizer(
        list(texts), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    return encoded.input_ids


@dataclass(frozen=True)
class TrainingText:
    """A training text: what CLIP reads, what T5 reads, and what both mean as class numbers."""

    prompt: str
    reflection: str
    meaning: np.ndarray

    @property
    def t5(self) -> str:
        return corrector_text(self.prompt, self.reflection).t5


class Reader(nn.Module):
    """Asks the encoders' outputs for every variable of a meaning, one learned query each."""

    def __init__(self, encoders: Encoders) -> None:
        super().__init__()
        self.encoders = encoders
        self.queries = nn.Parameter(torch.randn(_VARIABLES, 128) * 0.05)
        self.keys = nn.Linear(128, 128)
        self.heads = nn.Parameter(torch.randn(_VARIABLES, 128, _CLASSES) * 0.05)
        self.pooled_heads = nn.Linear(64, _PROMPT_VARIABLES * _CLASSES)

    def forward(self, texts: Sequence[TrainingText]) -> tuple[Tensor, Tensor]:
        """Logits of every variable from T5 and of the prompt's from pooled CLIP, each
        (n, variables, classes).
        """
        states, pooled = self.encoders([t.t5 for t in texts], [t.prompt for t in texts])
        weights = (self.queries @ self.keys(states).transpose(1, 2) / 128**0.5).softmax(-1)
        logits = torch.einsum("nvd,vdc->nvc", weights @ states, self.heads)
        return logits, self.pooled_heads(pooled).view(-1, _PROMPT_VARIABLES, _CLASSES)


class ReaderLoss:
    """Cross-entropy of a random batch of texts."""

    def __init__(self, reader: Reader, batch: int) -> None:
        self.reader, self.batch = reader, batch

    def __call__(self, draw: Draw) -> Tensor:
        rng, _ = draw.generators()
        texts = [any_text(rng) for _ in range(self.batch)]
        meant = torch.from_numpy(np.stack([text.meaning for text in texts]))
        from_t5, from_clip = self.reader(texts)
        meant = meant.to(from_t5.device)
        clip_meant = meant[:, :_PROMPT_VARIABLES]
        return _cross_entropy(from_t5, meant) + 0.5 * _cross_entropy(from_clip, clip_meant)


def _cross_entropy(logits: Tensor, meant: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), meant.flatten(), ignore_index=_UNKNOWN)


def any_text(rng: np.random.Generator) -> TrainingText:
    """A prompt, spelled out or not, or a layout, with a reflection or not; now and then a
    reflection alone."""
    prompt, spec = any_prompt(rng)
    scene = compose(spec, rng)
    found = faults(flawed(scene, rng), spec)
    reflection = TemplateWriter().write([f.unmet for f in found]) if rng.random() < 0.5 else ""
    edit = found[0] if found and reflection else None
    kind = rng.random()
    if kind < 0.35 and (told := training_layout(scene, spec)):
        shown = _layout_meaning(scene, is_sized(spec))
        return TrainingText(told, reflection, _meaning(layout=shown, edit=edit))
    if kind < 0.45 and reflection:
        return TrainingText("", reflection, _meaning(edit=edit))
    if kind < 0.6:
        return TrainingText(spelled_out(spec), reflection, _meaning(spec=spec, edit=edit))
    return TrainingText(prompt, reflection, _meaning(spec=spec, edit=edit))


def _meaning(
    spec: Spec | None = None, layout: list[int] | None = None, edit: Fault | None = None
) -> np.ndarray:
    parts = [
        _prompt_meaning(spec) if spec else [_UNKNOWN] * _PROMPT_VARIABLES,
        _edit_meaning(edit) if edit else [_UNKNOWN] * _EDIT_VARIABLES,
        layout or [_UNKNOWN] * (3 * len(POSITIONS)),
    ]
    return np.array([number for part in parts for number in part], np.int64)


def _prompt_meaning(spec: Spec) -> list[int]:
    """Each group's shape, colour, size and count; how the first stands; what it must not be."""
    numbers: list[int] = []
    for group in spec.groups:
        kind = _SHAPE[group.shape], _COLOUR[group.colour or ""], _SIZE[group.size or ""]
        numbers += [*kind, group.count]
    numbers += [_NONE] * (4 * (_GROUPS - len(spec.groups)))
    relation = spec.relations[0].name if spec.relations else ""
    return [*numbers, _RELATION[relation], _COLOUR[spec.groups[0].but_not or ""]]


def _edit_meaning(fault: Fault) -> list[int]:
    """What is told of a thing, and what it is to be, as far as the words say it: "make the red
    circle big" names no shape to be.
    """
    edit = TemplateWriter().write([fault.unmet])
    thing, wanted, moved = fault.thing, fault.wanted, bool(fault.thing and fault.beside)
    named = (fault.placed if moved else fault.named)(thing) if thing else None
    shape = colour = size = None
    if wanted and not moved:
        shape, colour, size = wanted.shape, wanted.colour, wanted.size
    if thing:  # only what changes is said, but with a new colour and size the shape again
        colour = colour if colour != thing.colour else None
        size = size if size != thing.size else None
        shape = shape if shape != thing.shape or (colour and size) else None
    return [
        _OPS.index(edit.split()[0]),
        _SHAPE[named.shape if named else ""],
        _COLOUR[(named and named.colour) or ""],
        _SIZE[(named and named.size) or ""],
        _SHAPE[shape or ""],
        _COLOUR[colour or ""],
        _SIZE[size or ""],
        _RELATION[(fault.relation if fault.beside else None) or ""],
        *(_SHAPE[thing.shape] for thing in fault.beside),
        *[_NONE] * (2 - len(fault.beside)),
    ]


def _layout_meaning(scene: Scene, sized: bool) -> list[int]:
    """In each ninth of the picture: shape, colour and size."""
    places = list(map(position_of, scene))
    seen = dict(zip(places, scene, strict=True))
    things = [seen.get(place) for place in POSITIONS]
    shapes = [_SHAPE[thing.shape] if thing else _NONE for thing in things]
    colours = [_COLOUR[thing.colour] if thing else _NONE for thing in things]
    sizes = [_SIZE[(thing.size if thing and sized else None) or ""] for thing in things]
    crowded = [places.count(place) > 1 for place in POSITIONS] * 3  # one label cannot say two
    labels = zip(shapes + colours + sizes, crowded, strict=True)
    return [_UNKNOWN if several else label for label, several in labels]
