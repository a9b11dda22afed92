"""Vision-language models on this machine with transformers: Qwen2.5-VL, Qwen3-VL and others.

Only the end tokens of generation_config.json are used: answers are greedy, or sampled from the
model's own distribution, and do not depend on the other questions of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from ..allowance import NoCallsLeftError, take_calls
from ..flux.folders import first_line
from ..flux.placement import Placement, Resident, device_named, is_out_of_memory
from ..protocols import SILENT, Progress
from ..record import InputError
from .choices import Tokens, masses, prefixes, relative_masses, spellings
from .closed import certain_text
from .decoding import Grammars, GumbelNoise, TokenLimits, until_end
from .failures import UnfitError, not_allowed
from .folder import load_model, load_processor
from .interface import Failure, Question, Usage
from .likelihoods import deciding_places, from_samples, from_top_tokens
from .local_settings import LocalSettings
from .prompts import continued, control_tokens, encode, rendered, to_device
from .shared import (
    FAMILIES,
    Beginning,
    by_picture,
    continued_logits,
    head_of,
    in_order,
    length_before,
    read_beginning,
    rests_of,
    same_pictures,
)
from .thoughts import without_thoughts

THINKING_TOKENS = 2048  # tokens for a thought that cannot be switched off
CHOICE_TOKENS = 256  # tokens of an answer that may explain itself before its choice
NO_CHOICE = "The model answers with none of the choices."
LIKELIEST = 50  # tokens considered at the place of a choice
Answer = TypeVar("Answer")
# Answers a batch of questions by their indices in the call.
AnswerBatch = Callable[[Sequence[Question], Sequence[int], Progress], list[Any]]
# Logits (questions, vocabulary) of the token after each question and these tokens.
Reader = Callable[[Tokens], Tensor]


def load_vlm(
    source: str | Path,
    *,
    dtype: str = "bf16",
    device: str | torch.device | None = None,
    settings: LocalSettings | None = None,
    placement: Placement | None = None,
) -> LocalVlm:
    """A model from a folder (without network) or from the hub by its ID, owner/name.

    `dtype` is "bf16", "fp32" or "nf4" (four bits with bitsandbytes on an NVIDIA GPU). The weights
    stay on `device` unless a `placement` moves them. InputError if the model cannot be loaded.
    """
    if dtype == "nf4" and placement:
        raise InputError("nf4 weights cannot be moved between GPU and host memory. Choose bf16.")
    target = device_named(device)
    processor = load_processor(source)
    model = load_model(AutoModelForImageTextToText, source, dtype, target)
    where = placement or Resident(target)
    return LocalVlm(model, processor, where, settings or LocalSettings())


class LocalVlm:
    """An ExactVlm with transformers; a host with its own memory manager may replace `placement`.

    Consecutive closed questions about the same pictures share these pictures' keys and values if
    the model's family allows it (`shared.FAMILIES`).
    """

    def __init__(
        self, model: Any, processor: Any, placement: Placement, settings: LocalSettings
    ) -> None:
        self.model, self.processor, self.placement = model, processor, placement
        self.settings, self.usage = settings, Usage()
        own, tokenizer = model.generation_config, processor.tokenizer
        ends = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        self.ends: list[int] = [ends] if isinstance(ends, int) else list(ends)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.ends[0]
        # generate() takes its defaults from here, such as sampling and repetition penalties
        model.generation_config = GenerationConfig(eos_token_id=self.ends, pad_token_id=pad)
        words = model.config.get_text_config()
        self.context: int = words.max_position_embeddings
        self.grammars = Grammars(tokenizer, words.vocab_size) if Grammars.available() else None
        self.model_name: str = model.config.model_type
        self.shares = self.model_name in FAMILIES
        self._begun: Beginning | None = None
        self._keeps = False

    @contextmanager
    def keeping_pictures(self) -> Iterator[None]:
        """`PictureKeeping.keeping_pictures`, for the latest pictures only."""
        outer, self._keeps = self._keeps, True
        try:
            yield
        finally:
            self._keeps = outer
            self._forget()

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]:
        batches = list(in_order(questions, self.settings.batch_size))
        return self._answers(batches, self._chat, progress, phase)

    def choose(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """`Vlm.choose` from the exact probabilities of the choices' tokens.

        "Yes" and " yes" count for "yes": see choices.py. Choices of one token need one forward
        pass, longer ones one more per prefix. If all choices together have less than `least_mass`,
        the model writes its answer, and the probabilities are taken where it states a choice.
        """

        def weigh(
            owners: Mapping[Tokens, int], row: Mapping[Tokens, float], count: int
        ) -> tuple[float, ...] | None:
            likely = sum(masses(owners, row, count)) >= self.settings.least_mass
            return relative_masses(owners, row, count) if likely else None

        found = self._weighed(questions, choices, weigh, progress, phase)
        unsure = [i for i, odds in enumerate(found) if odds is None]

        def written(
            asked: Sequence[Question], indices: Sequence[int], progress: Progress
        ) -> list[Any]:
            return [self._written_choice(asked[0], indices[0], choices, progress)]

        answers = self._answers([[questions[i]] for i in unsure], written, progress, phase)
        for i, odds in zip(unsure, answers, strict=True):
            found[i] = odds
        return found

    def likelihoods(
        self,
        questions: Sequence[Question],
        answers: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """`ExactVlm.likelihoods`, from the same tokens as `choose`."""
        return self._weighed(questions, answers, masses, progress, phase)

    def _weighed(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        weigh: Callable[[Mapping[Tokens, int], Mapping[Tokens, float], int], Any],
        progress: Progress,
        phase: str,
    ) -> list[Any]:
        owners = spellings(self.processor.tokenizer, choices)

        def weigh_batch(
            asked: Sequence[Question], indices: Sequence[int], progress: Progress
        ) -> list[Any]:
            del indices
            rows = self._log_probabilities(asked, list(owners), progress)
            return [weigh(owners, row, len(choices)) for row in rows]

        cut = by_picture if self.shares else in_order
        batches = list(cut(questions, self.settings.batch_size))
        try:
            return self._answers(batches, weigh_batch, progress, phase)
        finally:
            self._forget()

    def _forget(self) -> None:
        """Frees the pictures' keys and values, unless a caller keeps them."""
        if not self._keeps:
            self._begun = None

    def _answers(
        self,
        batches: Sequence[Sequence[Question]],
        answer_batch: AnswerBatch,
        progress: Progress,
        phase: str,
    ) -> list[Any]:
        """The answers to all questions in order, batch by batch."""
        answers: list[Any] = []
        total = sum(map(len, batches))
        for asked in batches:
            indices = range(len(answers), len(answers) + len(asked))
            for answer in self._tried(asked, indices, answer_batch, progress):
                answers.append(answer)
                progress.report(phase, len(answers), total)
        return answers

    def _tried(
        self,
        asked: Sequence[Question],
        indices: Sequence[int],
        answer_batch: AnswerBatch,
        progress: Progress,
    ) -> list[Any]:
        """The answers to a batch; if it fails, question by question, then a Failure for each."""
        progress.check()
        try:
            with torch.no_grad(), self.placement.on_device(self.model):
                return answer_batch(asked, indices, progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = Failure("Memory ran out; choose smaller pictures or models.", temporary=True)
        except UnfitError as error:
            failure = Failure(str(error))
        except NoCallsLeftError as error:
            failure = not_allowed(error)
        # Outside `except`, whose exception would keep the batch's memory.
        self._begun = None
        if self.placement.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(asked) == 1:
            return [failure]
        alone = zip(asked, indices, strict=True)
        return [a for q, i in alone for a in self._tried([q], [i], answer_batch, progress)]

    def _chat(
        self, asked: Sequence[Question], indices: Sequence[int], progress: Progress
    ) -> list[str | Failure]:
        rows = self._generated(asked, indices, progress)
        answers: list[str | Failure] = []
        for question, index, row in zip(asked, indices, rows, strict=True):
            text = self._text(row)
            if not text and not self._ended(row):  # everything was a thought
                roomy = replace(question, max_tokens=question.max_tokens + THINKING_TOKENS)
                try:
                    text = self._text(self._generated([roomy], [index], progress)[0])
                except NoCallsLeftError as error:  # the other answers are complete
                    answers.append(not_allowed(error))
                    continue
            answers.append(text or Failure("The model gave no answer, or thought to its end."))
        return answers

    def _generated(
        self, asked: Sequence[Question], indices: Sequence[int], progress: Progress
    ) -> list[list[int]]:
        """The tokens of each answer, including thoughts."""
        limits = [question.max_tokens for question in asked]
        processors = self._logits_processors(asked, indices)
        batch = self._encoded(asked, room=max(limits))
        prompt = batch["input_ids"].shape[1]
        tokens = self.model.generate(
            **batch,
            max_new_tokens=max(limits),
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([TokenLimits(limits, prompt, progress)]),
            logits_processor=processors,
        )
        rows = zip(tokens[:, prompt:], limits, strict=True)
        answers = [until_end(row[:limit].tolist(), self.ends) for row, limit in rows]
        self.usage += Usage(completion_tokens=sum(map(len, answers)))
        return answers

    def _ended(self, row: Sequence[int]) -> bool:
        return bool(row) and row[-1] in self.ends

    def _written_choice(
        self, question: Question, index: int, choices: Sequence[str], progress: Progress
    ) -> tuple[float, ...] | Failure:
        """P(choice) at the place where the generated answer states one."""
        limit = min(CHOICE_TOKENS, self.context // 2)
        asked = replace(question, schema=None, max_tokens=limit)
        (row,) = self._generated([asked], [index], progress)
        decode = self.processor.tokenizer.decode
        texts = [decode([token], skip_special_tokens=False) for token in row]
        cut = not self._ended(row)
        for place, says in deciding_places(texts, choices, cut):
            read = self._reader([asked], place + 1)
            likely = read(tuple(row[:place]))[0].cpu().double().log_softmax(-1).topk(LIKELIEST)
            words = [decode([int(token)]) for token in likely.indices]
            tops = zip(words, likely.values.tolist(), strict=True)
            odds = from_top_tokens(tops, choices, own=(texts[place], says))
            if odds is not None:
                return odds
        text = certain_text("".join(texts), choices, cut) if cut else self._text(row)
        return from_samples([text], choices) or Failure(NO_CHOICE)

    def _text(self, tokens: Sequence[int]) -> str:
        """The answer without control tokens and the thoughts that they may enclose."""
        tokenizer = self.processor.tokenizer
        text = without_thoughts(tokenizer.decode(tokens, skip_special_tokens=False))
        for token in control_tokens(self.processor):
            text = text.replace(token, "")
        return text

    def _logits_processors(
        self, asked: Sequence[Question], indices: Sequence[int]
    ) -> LogitsProcessorList:
        processors = LogitsProcessorList()
        if self.grammars and any(question.schema is not None for question in asked):
            processors.append(self.grammars.processor(asked))
        if self.settings.temperature:
            seeds = [(self.settings.seed << 20) + index for index in indices]
            processors.append(GumbelNoise(self.settings.temperature, seeds))
        return processors

    def _log_probabilities(
        self, asked: Sequence[Question], sequences: Sequence[Tokens], progress: Progress
    ) -> list[dict[Tokens, float]]:
        """For each question log P(its answer begins with the sequence)."""
        room = max(map(len, sequences))
        read = self._sharing_reader(asked, room) or self._reader(asked, room)
        found = [dict.fromkeys(sequences, 0.0) for _ in asked]
        for prefix in prefixes(sequences):
            progress.check()
            table = read(prefix).cpu().double().log_softmax(-1)
            for sequence in sequences:
                if len(sequence) > len(prefix) and sequence[: len(prefix)] == prefix:
                    for row, sums in zip(table, found, strict=True):
                        sums[sequence] += float(row[sequence[len(prefix)]])
        return found

    def _reader(self, asked: Sequence[Question], room: int) -> Reader:
        """Reads every question as a whole."""
        batch = self._encoded(asked, room)

        def read(prefix: Tokens) -> Tensor:
            longer = continued(batch, prefix)
            return self.model(**longer, logits_to_keep=1, use_cache=False).logits[:, -1]

        return read

    def _sharing_reader(self, asked: Sequence[Question], room: int) -> Reader | None:
        """Reads only the different parts of the questions; None if nothing is shared."""
        images, begun = asked[0].images, self._begun
        if not self.shares or not all(same_pictures(asked[0], question) for question in asked):
            return None
        texts = rendered(self.processor, asked)
        known = begun if begun and begun.begins(images, texts) else None
        if not known and len(asked) == 1:
            return None
        head = known.head if known else head_of(self.processor, texts)
        rests = rests_of(self.processor, head, texts)
        if rests is None:
            return None
        if known:
            self._count([known.length + len(rest) for rest in rests], room)
        else:
            self._begun = None  # frees memory for the next picture
            batch = self._on_device(asked[:1])
            length = length_before(rests[0], batch)
            if length is None:
                return None
            self._count([length + len(rest) for rest in rests], room)
            known = self._begun = read_beginning(self.model, batch, images, head, length)
        pad, device = self.model.generation_config.pad_token_id, self.placement.device
        return lambda prefix: continued_logits(
            self.model, known, [rest + prefix for rest in rests], pad, device
        )

    def _encoded(self, asked: Sequence[Question], room: int) -> dict[str, Any]:
        """The batch on the device, counted; raises if there is no `room` for the answer."""
        batch = self._on_device(asked)
        self._count(batch["attention_mask"].sum(1).tolist(), room)
        return batch

    def _on_device(self, asked: Sequence[Question]) -> dict[str, Any]:
        try:
            batch = encode(self.processor, asked, self.settings.max_pixels)
        except ValueError as error:
            raise UnfitError(f"The model cannot read a question: {first_line(error)}") from error
        return to_device(batch, self.placement.device, self.model.dtype)

    def _count(self, lengths: Sequence[int], room: int) -> None:
        """Counts questions of these token `lengths`; raises if the answer has no `room`."""
        if max(lengths) + room > self.context:
            raise UnfitError(
                f"A question of {max(lengths)} tokens and an answer of up to {room} do not fit "
                f"into the model's {self.context}; use a shorter prompt or smaller pictures."
            )
        take_calls(len(lengths))
        self.usage += Usage(calls=len(lengths), prompt_tokens=sum(lengths))
