"""The corrector's training: setup, training loop and validation.

Files in `out`: the LoRA in the published format, the last two checkpoints, log.jsonl with a line
per step, a contact sheet per validation, and the settings of the first start.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import nn

from reflectionflow_core.archive.files import make_folder, replace_file
from reflectionflow_core.flux.lora import (
    FILE_NAME,
    CorrectorLora,
    load_corrector_lora,
    read_corrector_lora,
    target_shapes,
)
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.protocols import Verifier
from reflectionflow_core.record import InputError
from train.base_models import check_place, digests_of
from train.checkpoints import Checkpoints
from train.corrector.batches import Batches, BatchReader
from train.corrector.beforehand import encoded_first
from train.corrector.encoded import ALONE, SHUFFLED, Encoded
from train.corrector.flux import Network, bare, load
from train.corrector.loss import Extra, FlowLoss, Predict, logit_normal
from train.corrector.mending import judge_of
from train.corrector.mixture import Sampler
from train.corrector.samples import BatchSource, Shards
from train.corrector.settings import MAY_CHANGE, CorrectorSettings, LearningSettings
from train.corrector.validation import Checks, held_out
from train.fit import DivergenceError, Draw, State, draws, steps
from train.journal import Log, all_done, records, watched
from train.processes import join, shares_weights, wait_for_all
from train.reports import reports_of
from train.run_folder import MODELS, run_folder
from train.shard_lists import shards_in
from train.skipped import reasons
from train.triplets import Triplets

# Texts that latents have only if train.latents was told to encode them.
LATENT_TEXTS = {SHUFFLED: "another's reflection", ALONE: "the reflection without its prompt"}


@dataclass(frozen=True)
class Overrides:
    """Parts that a caller provides: a FLUX, samples, and a second task with its weights."""

    flux: Flux | None = None
    source: BatchSource | None = None
    extra: Extra | None = None
    learner: nn.Module | None = None


class Saved(Protocol):
    """The LoRA that is trained."""

    def serialised(self) -> bytes:
        """The content of its file."""
        ...


@dataclass(frozen=True)
class CorrectorTraining:
    """All parts of a run; `fit` and the functions after it are independent of the model."""

    settings: LearningSettings
    lora: Saved
    predict: Predict
    reader: BatchReader
    batches: Batches
    loss: FlowLoss
    checks: Checks
    judge: Verifier | None
    kept: Checkpoints
    state: State


def train(settings: CorrectorSettings, overrides: Overrides = Overrides()) -> CorrectorLora:
    """Trains the LoRA, saves it in `settings.out` and returns it; a stopped run is resumed."""
    if overrides.flux is None:
        check_place(settings.model)
    if settings.lora.start is not None:  # before anything is encoded
        _check_start(settings, settings.lora.start, overrides.flux)
    batches = settings.accumulate * join(settings.torch_device).num_processes
    record = {**settings.model_dump(mode="json"), "batches_a_step": batches}
    record[MODELS] = digests_of(settings.model)
    with run_folder(settings.out, record, MAY_CHANGE):
        if overrides.source is None:
            settings = encoded_first(settings, overrides.flux)
        training = setup(settings, overrides)
        finish(training)
        return cast(CorrectorLora, training.lora)


def finish(training: CorrectorTraining) -> None:
    """Runs the remaining steps and saves the LoRA with its averaged weights."""
    try:
        fit(training)
    finally:
        training.batches.close()
    training.state.put(training.state.average)
    publish(training)


def run(settings: CorrectorSettings) -> str:
    train(settings)
    return f"The corrector is in {settings.out / FILE_NAME}.\n"


def setup(settings: CorrectorSettings, overrides: Overrides) -> CorrectorTraining:
    # Long captions are common; T5 gets their first `text_length` tokens.
    warnings.filterwarnings("ignore", message="The text is .* tokens long")
    flux = overrides.flux or load(settings, texts=settings.latents is None)
    source = overrides.source or _source(settings, flux)
    lora = _lora(settings, flux).to(flux.device)
    predict = partial(_network(settings, flux), lora=lora)
    tested = held_out(settings.validation.samples, source.prompts, settings.seed)
    checks = Checks(flux, source, tested, settings.validation, lora)
    lacking = [name for name in LATENT_TEXTS if not checks.has(name)]
    if lacking and join().is_main_process:
        named = " or with ".join(LATENT_TEXTS[name] for name in lacking)
        asked = " ".join(f"{name}=true" for name in lacking)
        sys.stderr.write(
            f"Held-out samples have no text with {named}, so validation does not measure "
            f"that error. Run train.latents with {asked} to encode it.\n"
        )
    learner = nn.ModuleList([lora, *([overrides.learner] if overrides.learner else [])])
    return assembled(settings, source, tested, checks, lora, predict, learner, overrides.extra)


def assembled(
    settings: LearningSettings,
    source: BatchSource,
    tested: list[int],
    checks: Checks,
    lora: Saved,
    predict: Predict,
    learner: nn.Module,
    extra: Extra | None = None,
) -> CorrectorTraining:
    """A run of these parts at its newest checkpoint; `tested` are the held-out samples."""
    sampler = Sampler(
        source.labels,
        settings.mixture,
        tested,
        source.groups,
        settings.siblings,
        source.prompts,
        _left_out(source, settings.leave_out),
    )
    reader = BatchReader(source, sampler, settings.drop, settings.batch)
    batches = Batches(
        source, reader, partial(_coming, settings), settings.workers, settings.accumulate
    )
    times = logit_normal(settings.time_shift, settings.time_shifted)
    loss = FlowLoss(predict, batches, times, settings.changed_weight, extra, settings.siblings > 1)
    kept = Checkpoints(settings.out / "checkpoints", "corrector")
    state = State.begin(learner, settings.schedule, kept)
    judge = judge_of(settings.checking.mended, settings.torch_device)
    asked, found = settings.checking.samples, len(checks.batches)
    if found < asked and join().is_main_process:
        sys.stderr.write(
            f"{found} of validation.samples={asked} samples are held out: one of a prompt, of at "
            f"most half of the prompts.{'' if found else ' Nothing is validated.'}\n"
        )
    return CorrectorTraining(
        settings, lora, predict, reader, batches, loss, checks, judge, kept, state
    )


def fit(training: CorrectorTraining) -> None:
    """Runs the training loop and its validations.

    It validates before the first step, so that faults show early, and again after a resume if the
    last validation is missing.
    """
    settings, state, path = training.settings, training.state, training.settings.out / "log.jsonl"
    checked = [record["step"] for record in records(path) if "validation" in record]
    wait_for_all()  # all processes must have read the log before the first writes to it
    about = settings.model_dump(mode="json")
    reports = reports_of(settings.report, settings.out, state.step, about)
    log = Log(path, state.step, reports)
    if state.step >= settings.steps and join().is_main_process:
        sys.stderr.write(all_done(settings.steps))
    if _due(state.step, settings) and state.step not in checked:
        validate(training, log)
    made = steps(state, training.loss, settings.schedule, training.kept, settings.seed)
    try:
        for done in watched(settings.out.name, made, state.step, settings.steps):
            log.write(done, skipped=sum(training.reader.skipped.values()))
            if done.saved:
                publish(training)
            if _due(done.step, settings):
                validate(training, log)
    except DivergenceError as error:
        # Quoted, since YAML reads a key such as 000123 as a number.
        keys = json.dumps([key for keys in training.batches.keys for key in keys])
        raise InputError(
            f"{error} Its samples are {keys[1:-1]}. Start again with a lower optimiser.rate, or "
            f"leave out those that are wrong: 'leave_out={keys}'."
        ) from error
    if training.reader.skipped:
        sys.stderr.write(f"Samples that could not be used: {reasons(training.reader.skipped)}.\n")


def validate(training: CorrectorTraining, log: Log) -> None:
    """Logs the held-out errors and the share of fixed pictures, and writes a contact sheet."""
    step, checks = training.state.step, training.checks
    with training.state.averaged():
        error = checks.error(training.predict)
        mended = checks.mended(training.judge) if training.judge else None
        sheet = checks.sheet(f"Step {step:,}")
    if join().is_main_process:
        if sheet:
            make_folder(training.settings.out / "sheets")
            replace_file(training.settings.out / "sheets" / f"{step:07d}.png", sheet)
        if training.judge and not mended and checks.batches:
            sys.stderr.write(f"Step {step}: no held-out picture is flawed, so none was fixed.\n")
        if mended:
            sys.stderr.write(f"Step {step}: {mended.sentence()}.\n")
        if error:  # last: its log entry marks the validation as done
            more = {"mended": mended.figures()} if mended else {}
            log.note(step, **error.figures(), **more)
            sys.stderr.write(f"Step {step}: {error.sentence()}.\n")


def publish(training: CorrectorTraining) -> None:
    """Writes the LoRA in the published format."""
    if join().is_main_process:
        with training.state.averaged():
            replace_file(training.settings.out / FILE_NAME, training.lora.serialised())


def _due(step: int, settings: LearningSettings) -> bool:
    return step % settings.checking.every == 0 or step == settings.steps


def _source(settings: CorrectorSettings, flux: Flux) -> BatchSource:
    if settings.latents is not None:
        encoded = Encoded(Path(settings.latents), settings, flux)
        if settings.drop.prompt and not encoded.alone:
            raise InputError(
                f"The latents in {settings.latents} have no reflections without their prompts, "
                "which drop.prompt uses. Set drop.prompt=0, or encode with alone=true."
            )
        return encoded
    return Shards(flux, triplets_in(settings), settings)


def triplets_in(settings: LearningSettings) -> Triplets:
    """The triplets of the settings' shards; says what was left out of them."""
    triplets = Triplets(shards_in(settings.data))
    if triplets.skipped and join().is_main_process:
        sys.stderr.write(f"Left out of the shards: {reasons(triplets.skipped)}.\n")
    return triplets


def _left_out(source: BatchSource, keys: Collection[str]) -> list[int]:
    """The numbers of the samples with these keys; InputError if a key is unknown."""
    if not keys:
        return []
    found = [i for i in range(len(source.labels)) if source.key(i) in set(keys)]
    if unknown := sorted({*keys} - {source.key(i) for i in found}):
        raise InputError(
            f"leave_out names {unknown[0]}, but there is no such sample. Check the keys."
        )
    return found


def _lora(settings: CorrectorSettings, flux: Flux) -> CorrectorLora:
    torch.manual_seed(settings.seed)
    chosen = settings.lora
    if chosen.start is None:
        return CorrectorLora.create(flux.transformer, chosen.rank, chosen.alpha, chosen.mode)
    lora = load_corrector_lora(chosen.start, flux.transformer, torch.float32)
    return lora.requires_grad_(True)


def _check_start(settings: CorrectorSettings, start: Path, flux: Flux | None) -> None:
    """InputError if the LoRA to start from cannot be read or is of another kind."""
    transformer = flux.transformer if flux else bare(settings.model)
    mode = read_corrector_lora(start, target_shapes(transformer)).mode
    if mode != settings.lora.mode:
        raise InputError(
            f"{start} was trained with tokens={mode.tokens} and attention={mode.attention}. Set "
            "lora.tokens and lora.attention to these."
        )


def _network(settings: CorrectorSettings, flux: Flux) -> Network:
    if settings.checkpointing:
        flux.transformer.enable_gradient_checkpointing()
    if not shares_weights():
        nn.Module.to(flux.transformer, flux.device)  # diffusers' `to` has no type annotations
    return Network(flux.transformer)


def _coming(settings: LearningSettings, draw: Draw) -> Iterable[Draw]:
    """The draws of this process after `draw`."""
    schedule = settings.schedule
    for step in range(draw.step, schedule.steps):
        for each in draws(draw.seed, step, schedule):
            if (step, each.share) > (draw.step, draw.share):
                yield each
