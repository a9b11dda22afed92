"""What happens at every generated token: limits, cancelling, dice, and JSON that fits a schema.

Everything here is per row, so that a question's answer does not depend on its neighbours.
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
from .interface import Question


class TokenLimits(StoppingCriteria):
    """Ends each row at its own number of tokens; `progress.check` may raise to end them all."""

    def __init__(self, limits: Sequence[int], prompt: int, progress: Progress) -> None:
        self.limits, self.prompt, self.progress = torch.tensor(limits), prompt, progress

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Any:
        del scores
        self.progress.check()
        return self.limits.to(input_ids.device) <= input_ids.shape[1] - self.prompt


class GumbelNoise(LogitsProcessor):
    """Greedy decoding after it is sampling: adds Gumbel noise to logits / `temperature`.

    Each row has a seed of its own, and the dice of the rest of the program are left alone.
    """

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self.temperature = temperature
        self.dice = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        del input_ids
        thrown = [torch.rand(scores.shape[1], generator=d, dtype=torch.float64) for d in self.dice]
        gumbel = -torch.log(-torch.log(torch.stack(thrown).clamp(1e-300, 1 - 1e-16)))
        return scores / self.temperature + gumbel.to(scores.device, scores.dtype)


class Grammars:
    """Grammars of JSON schemas for one tokenizer, by the optional package xgrammar."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        import xgrammar  # pyright: ignore[reportMissingImports]

        known = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary)
        self.xgrammar: Any = xgrammar
        self.compiler, self.vocabulary = xgrammar.GrammarCompiler(known), vocabulary

    @staticmethod
    def available() -> bool:
        return importlib.util.find_spec("xgrammar") is not None

    def processor(self, questions: Sequence[Question]) -> Constraint:
        """Keeps the rows of questions with a schema to it; other rows are free."""
        matchers = [self._matcher(question.schema) for question in questions]
        return Constraint(self.xgrammar, matchers, self.vocabulary)

    def _matcher(self, schema: Mapping[str, Any] | None) -> Any:
        if schema is None:
            return None
        try:
            # A grammar that allows any white space allows a model to write nothing else.
            grammar = self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
        except RuntimeError as error:
            warnings.warn(
                f"Answers are not kept to a schema that xgrammar cannot read: {first_line(error)} "
                "The model is only told of it.",
                stacklevel=2,
            )
            return None
        return self.xgrammar.GrammarMatcher(grammar)


class Constraint(LogitsProcessor):
    """Forbids every token with which a row would leave its grammar; None is a free row."""

    def __init__(self, xgrammar: Any, matchers: list[Any], vocabulary: int) -> None:
        self.xgrammar, self.matchers = xgrammar, matchers
        self.mask = xgrammar.allocate_token_bitmask(len(matchers), vocabulary)
        self.begun = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        for row, matcher in enumerate(self.matchers):
            # A row at its end is filled up with tokens that no grammar knows.
            if matcher is None or not self.begun:
                continue
            if matcher.is_terminated() or not matcher.accept_token(int(input_ids[row, -1])):
                self.matchers[row] = None
        self.begun = True
        rows = [r for r, m in enumerate(self.matchers) if m is not None and not m.is_terminated()]
        for row in rows:
            self.matchers[row].fill_next_token_bitmask(self.mask, row)
        if rows:
            allowed = scores.cpu()  # a few hundred kilobytes; the kernels differ between devices
            self.xgrammar.apply_token_bitmask_inplace(allowed, self.mask, indices=rows)
            return allowed.to(scores.device)
        return scores
