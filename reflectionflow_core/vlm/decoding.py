"""Steps at each generated token: limits, cancelling, sampling, and JSON that fits a schema.

All work per row, so that an answer does not depend on the other questions of a batch.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from ..flux.folders import first_line
from ..protocols import Progress
from ..settings import MAX_SEED
from .interface import Question


class TokenLimits(StoppingCriteria):
    """Ends each row at its own number of tokens; `progress.check` may raise to stop all."""

    def __init__(self, limits: Sequence[int], prompt: int, progress: Progress) -> None:
        self.limits, self.prompt, self.progress = torch.tensor(limits), prompt, progress

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Any:
        del scores
        self.progress.check()
        return self.limits.to(input_ids.device) <= input_ids.shape[1] - self.prompt


class GumbelNoise(LogitsProcessor):
    """Samples by adding Gumbel noise to logits / `temperature` before greedy decoding.

    Each row has its own seed; torch's global generator is not used.
    """

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(seed & MAX_SEED) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        del input_ids
        rows = [
            torch.rand(scores.shape[1], generator=generator, dtype=torch.float64)
            for generator in self.generators
        ]
        gumbel = -torch.log(-torch.log(torch.stack(rows).clamp(1e-300, 1 - 1e-16)))
        return scores / self.temperature + gumbel.to(scores.device, scores.dtype)


class Grammars:
    """Grammars of JSON schemas for a tokenizer, from the optional package xgrammar."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        import xgrammar  # pyright: ignore[reportMissingImports]

        tokens = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary)
        self.xgrammar: Any = xgrammar
        self.compiler, self.vocabulary = xgrammar.GrammarCompiler(tokens), vocabulary

    @staticmethod
    def available() -> bool:
        return importlib.util.find_spec("xgrammar") is not None

    def processor(self, questions: Sequence[Question]) -> Constraint:
        """Constrains the rows whose questions have a schema."""
        matchers = [self._matcher(question.schema) for question in questions]
        return Constraint(self.xgrammar, matchers, self.vocabulary)

    def _matcher(self, schema: Mapping[str, Any] | None) -> Any:
        if schema is None:
            return None
        try:
            # With unlimited white space, a model may write nothing else.
            grammar = self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
        except RuntimeError as error:
            warnings.warn(
                f"xgrammar cannot read a schema: {first_line(error)} The schema stays in the "
                "question, and answers may differ from it.",
                stacklevel=2,
            )
            return None
        return self.xgrammar.GrammarMatcher(grammar)


class Constraint(LogitsProcessor):
    """Forbids all tokens that a row's grammar does not allow; rows without a matcher are free."""

    def __init__(self, xgrammar: Any, matchers: list[Any], vocabulary: int) -> None:
        self.xgrammar, self.matchers = xgrammar, matchers
        self.mask = xgrammar.allocate_token_bitmask(len(matchers), vocabulary)
        self.started = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        for row, matcher in enumerate(self.matchers):
            # Finished rows are padded with tokens outside the grammar.
            if matcher is None or not self.started:
                continue
            if matcher.is_terminated() or not matcher.accept_token(int(input_ids[row, -1])):
                self.matchers[row] = None
        self.started = True
        rows = [r for r, m in enumerate(self.matchers) if m is not None and not m.is_terminated()]
        for row in rows:
            self.matchers[row].fill_next_token_bitmask(self.mask, row)
        if rows:
            allowed = scores.cpu()  # a few hundred kilobytes; the kernels differ between devices
            self.xgrammar.apply_token_bitmask_inplace(allowed, self.mask, indices=rows)
            return allowed.to(scores.device)
        return scores


def until_end(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """The tokens of one answer including its end token, without padding."""
    found = [index for index, token in enumerate(tokens) if token in ends]
    return tokens[: found[0] + 1] if found else tokens
