"""The corrector's training: setup, fit, validate.

Files in `out`: the LoRA in the published format, the last two checkpoints, a line a step in
log.jsonl, a sheet of corrected pictures for each validation, and the settings of the first start.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from reflectionflow_core.archive.files import locked, make_folder, replace_file
from reflectionflow_core.flux.lora import FILE_NAME, CorrectorLora, load_corrector_lora
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.record import InputError
from train.checkpoints import Checkpoints
from train.corrector.batches import Batches, Reader, reasons
from train.corrector.encoded import Encoded
from train.corrector.flux import Network, load
from train.corrector.loss import Extra, FlowLoss, Predict, logit_normal
from train.corrector.mixture import Sampler
from train.corrector.samples import Shards, Source
from train.corrector.settings import MAY_CHANGE, Settings
from train.corrector.validation import Checks, held_out
from train.fit import DivergenceError, Draw, State, draws, steps
from train.journal import Done, Log, watched
from train.processes import join, shares_weights
from train.triplets import Triplets, shards_in


@dataclass(frozen=True)
class Also:
    """What a caller adds: FLUX or samples of its own, a second task with what it trains."""

    flux: Flux | None = None
    source: Source | None = None
    extra: Extra | None = None
    learner: nn.Module | None = None


@dataclass(frozen=True)
class Work:
    settings: Settings
    lora: CorrectorLora
    predict: Predict
    reader: Reader
    batches: Batches
    loss: FlowLoss
    checks: Checks
    kept: Checkpoints
    state: State


def train(settings: Settings, also: Also = Also()) -> CorrectorLora:
    """The trained LoRA, which is also in `settings.out`; goes on where a run was stopped."""
    process = join(settings.place)
    make_folder(settings.out)
    with locked(settings.out) if process.is_main_process else nullcontext():
        _remember(settings)
        work = setup(settings, also)
        try:
            fit(work)
        finally:
            work.batches.close()
        work.state.put(work.state.average)
        publish(work)
        return work.lora


def setup(settings: Settings, also: Also) -> Work:
    # Long captions are common, and T5 reads their first `text_length` tokens.
    warnings.filterwarnings("ignore", message="The text is .* tokens long")
    flux = also.flux or load(settings, texts=settings.latents is None)
    source = also.source or _source(settings, flux)
    lora = _lora(settings, flux).to(flux.device)
    predict = partial(_network(settings, flux), lora=lora)
    tested = held_out(settings.validation.samples, len(source.labels), settings.seed)
    checks = Checks(flux, source, tested, settings.validation)
    sampler = Sampler(source.labels, settings.mixture, tested)
    a_step = settings.batch * settings.accumulate * join().num_processes
    reader = Reader(source, sampler, settings.drop, settings.batch, a_step)
    batches = Batches(
        source, reader, partial(_coming, settings), settings.workers, settings.accumulate
    )
    times = logit_normal(settings.time_shift, settings.time_shifted)
    loss = FlowLoss(predict, batches, times, settings.changed_weight, also.extra)
    kept = Checkpoints(settings.out / "checkpoints", "corrector")
    learner = nn.ModuleList([lora, *([also.learner] if also.learner else [])])
    state = State.begin(learner, settings.schedule, kept)
    return Work(settings, lora, predict, reader, batches, loss, checks, kept, state)


def fit(work: Work) -> None:
    """Validates before the first step, so that what cannot work fails before the long part."""
    settings, state = work.settings, work.state
    log = Log(settings.out / "log.jsonl", state.step)
    if state.step == 0:
        validate(work, log)
    made = steps(state, work.loss, settings.schedule, work.kept, settings.seed)
    try:
        for done in watched("corrector", made, state.step, settings.steps):
            log.write(done, skipped=sum(work.reader.skipped.values()))
            if done.saved:
                publish(work)
            if _due(done, settings):
                validate(work, log)
    except DivergenceError as error:
        keys = ", ".join(key for keys in work.batches.keys for key in keys)
        raise InputError(f"{error} They are: {keys}.") from error
    if work.reader.skipped:
        sys.stderr.write(f"Samples that could not be used: {reasons(work.reader.skipped)}.\n")


def validate(work: Work, log: Log) -> None:
    """The loss on held-out samples into the log, and a sheet of corrections beside it."""
    step = work.state.step
    with work.state.averaged():
        loss, sheet = work.checks.loss(work.predict), work.checks.sheet(work.lora)
    if join().is_main_process:
        log.note(step, validation=loss)
        if sheet:
            make_folder(work.settings.out / "sheets")
            replace_file(work.settings.out / "sheets" / f"{step:07d}.png", sheet)


def publish(work: Work) -> None:
    """Writes the LoRA as every loader of correctors reads it."""
    if join().is_main_process:
        with work.state.averaged():
            replace_file(work.settings.out / FILE_NAME, work.lora.serialised())


def _due(done: Done, settings: Settings) -> bool:
    return done.step % settings.validation.every == 0 or done.step == settings.steps


def _source(settings: Settings, flux: Flux) -> Source:
    if settings.latents is not None:
        return Encoded(settings.latents, settings, flux)
    triplets = Triplets(shards_in(settings.data))
    if triplets.skipped and join().is_main_process:
        sys.stderr.write(f"Left out of the shards: {reasons(triplets.skipped)}.\n")
    return Shards(flux, triplets, settings)


def _lora(settings: Settings, flux: Flux) -> CorrectorLora:
    torch.manual_seed(settings.seed)
    chosen = settings.lora
    if chosen.start is None:
        return CorrectorLora.create(flux.transformer, chosen.rank, chosen.alpha, chosen.mode)
    lora = load_corrector_lora(chosen.start, flux.transformer, torch.float32)
    if lora.mode != chosen.mode:
        raise InputError(
            f"{chosen.start} was trained with tokens={lora.mode.tokens} and "
            f"attention={lora.mode.attention}. Set lora.tokens and lora.attention to these."
        )
    return lora.requires_grad_(True)


def _network(settings: Settings, flux: Flux) -> Network:
    if settings.checkpointing:
        flux.transformer.enable_gradient_checkpointing()
    if not shares_weights():
        nn.Module.to(flux.transformer, flux.device)  # diffusers' own `to` hides its types
    return Network(flux.transformer)


def _coming(settings: Settings, draw: Draw) -> Iterable[Draw]:
    """What this process draws after `draw`."""
    schedule = settings.schedule
    for step in range(draw.step, schedule.steps):
        for each in draws(draw.seed, step, schedule):
            if (step, each.share) > (draw.step, draw.share):
                yield each


def _remember(settings: Settings) -> None:
    """Keeps the settings of the first start; a run that goes on may not become another one."""
    file = settings.out / "settings.json"
    now = settings.model_dump(mode="json")
    now["batches_a_step"] = settings.accumulate * join().num_processes  # however they are shared
    if not file.is_file():
        if join().is_main_process:
            replace_file(file, json.dumps(now, indent=2).encode() + b"\n")
        return
    first = json.loads(file.read_text(encoding="utf-8"))
    for told in (first, now):
        told["validation.samples"] = told["validation"]["samples"]  # the others are not trained on
    for name in sorted(now.keys() - set(MAY_CHANGE)):
        if first.get(name) != now[name]:
            raise InputError(
                f"The run in {settings.out} was started with {name}={first.get(name)}, and now it "
                f"is {now[name]}. Set it back, or choose another folder."
            )
