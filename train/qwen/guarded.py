"""A transformers Trainer that stops at NaN or infinity and writes checkpoints atomically.

It is independent of model and loss, which subclasses add.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from transformers import PrinterCallback, Trainer, TrainerCallback

from reflectionflow_core.archive.files import replace_file
from reflectionflow_core.flux.folders import listed
from reflectionflow_core.record import InputError
from train.journal import Log, all_done, numbers
from train.progress import progress
from train.qwen.settings import QwenSettings
from train.qwen.whole import PART, explained, publish, remove
from train.reports import reports_of
from train.skipped import Skipped, reasons

PLAIN = {  # figures on the terminal, where their names in the log say too little
    "token_accuracy": "tokens predicted",
    "held_out/exact": "answers to the letter",
    "learnt/exact": "answers to the letter in the training set",
    "gain/pictures": "pictures corrected",
    "gain/writer": "scores that rise by its words",
    "gain/template": "by the judge's findings",
    "gain/empty": "by no words",
    "gain/leads/template": "its words minus the findings",
    "gain/leads/empty": "its words minus none",
}
MEASURED, LOG = "measured.json", "log.jsonl"


class Guarded(Trainer):
    """Batches have the `keys` of their samples and the `unread` ones that were left out.

    A loss, gradient or weight that is not finite ends the training with an InputError naming step
    and samples, before weights are changed or saved. Checkpoints are written in `args.output_dir`
    and moved to `folder` when complete.
    """

    def guard(self, settings: QwenSettings, skipped: Skipped) -> None:
        """Must be called once before training; `skipped` is updated during training."""
        self.folder, self.kept = settings.out, settings.keep
        self.keys: list[str] = []  # of the current step
        self.skipped = skipped
        last = latest(self.folder)
        step = step_of(last) if last else 0
        reports = reports_of(settings.report, self.folder, step, settings.model_dump(mode="json"))
        # The first measurement is repeated if there is no checkpoint yet.
        self.log_file = Log(self.folder / LOG, step if last else -1, reports)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Resumed())
        self.add_callback(_Gradients(self))
        self.add_callback(_Journal(self.log_file))

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        self.keys += inputs.pop("keys")
        for each in inputs.pop("unread"):
            self.skipped.add(*each)
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not loss.isfinite().all():
            raise self.stopped(f"The loss is {loss.item()} at step {self.state.global_step + 1}")
        return loss

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Any, Any, Any]:
        inputs = {name: v for name, v in inputs.items() if name not in ("keys", "unread")}
        return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the programs write their own cards."""

    def stopped(self, what: str) -> InputError:
        """The error that ends the training, with the samples of the step."""
        last = latest(self.folder)
        kept = f"{last} is the last good checkpoint" if last else "There is no checkpoint yet"
        return InputError(
            f"{what}, in the samples {listed(self.keys)}. "
            f"{kept}. Look at these samples or lower `rate`, then start again."
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not all(p.isfinite().all() for p in model.parameters() if p.requires_grad):
            raise self.stopped(f"A weight is not finite after step {self.state.global_step}")
        name = f"checkpoint-{self.state.global_step}"
        with explained(self.folder / name):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                publish(Path(str(self.args.output_dir)) / name, self.folder / name)
                for old in checkpoints(self.folder)[: -self.kept]:
                    remove(old)
        self.accelerator.wait_for_everyone()

    def restore(self, checkpoint: Path) -> None:
        """Loads a checkpoint's weights for use, not for further training."""
        self._load_from_checkpoint(str(checkpoint))
        self.state.global_step = step_of(checkpoint)

    def note(self, figures: dict[str, Any]) -> None:
        """Adds the figures measured at this step to measured.json."""
        if self.is_world_process_zero():
            step = self.state.global_step
            before = [found for found in measured(self.folder) if found["step"] < step]
            data = json.dumps([*before, {"step": step, **figures}], indent=2)
            replace_file(self.folder / MEASURED, f"{data}\n".encode())
            found = dict(numbers(figures))
            self.log_file.note(step, **{f"held_out/{name}": value for name, value in found.items()})
            shown = [f"{_plain(name)} {_shown(found[name])}" for name in found if _is_shown(name)]
            sys.stderr.write(f"Step {step}, held out: {', '.join(shown)}.\n")


def _is_shown(name: str) -> bool:
    """Whether a figure is printed: numbers and means, but not those per subset."""
    return "/" not in name or (name.endswith("/mean") and not name.startswith("by_subset/"))


def _plain(name: str) -> str:
    name = name.removesuffix("/mean")
    return PLAIN.get(name, name.replace("_", " ").replace("/", " "))


def _shown(value: float) -> str:
    return f"{value:.4f}" if value % 1 or abs(value) <= 1 else f"{value:,.0f}"


class _Journal(TrainerCallback):
    """Logs what transformers reports, and displays the progress."""

    def __init__(self, log: Log) -> None:
        self.log, self.stack, self.remark = log, ExitStack(), ""

    def on_train_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        name = Path(args.output_dir).parent.name
        is_first = state.is_world_process_zero
        shown = progress(name, state.global_step, state.max_steps, shown=is_first)
        self.show = self.stack.enter_context(shown)

    def on_log(self, _: Any, state: Any, *__: Any, logs: dict[str, Any], **___: Any) -> None:
        if "loss" in logs:  # the trainer records held-out figures itself
            found = dict(numbers(logs))
            self.remark = f"loss {found['loss']:.4f}"
            self.log.note(state.global_step, **found)

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        self.show(state.global_step, self.remark)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.stack.close()


class _Resumed(TrainerCallback):
    """Restores our settings, which transformers replaces by those of the checkpoint."""

    def on_train_begin(self, args: Any, state: Any, *_: Any, **has: Any) -> None:
        state.compute_steps(
            args, state.max_steps
        )  # steps between logs, measurements and checkpoints
        scheduler, highest = has["lr_scheduler"], args.learning_rate
        rates = [highest * share(scheduler.last_epoch) for share in scheduler.lr_lambdas]
        restored = {"base_lrs": [highest] * len(rates), "_last_lr": rates}
        scheduler.load_state_dict({**scheduler.state_dict(), **restored})
        for group, rate in zip(has["optimizer"].param_groups, rates, strict=True):
            group.update(lr=rate, initial_lr=highest)


class _Gradients(TrainerCallback):
    """Checks the gradients of a step before the optimiser uses them."""

    def __init__(self, trainer: Guarded) -> None:
        self.trainer = trainer

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.trainer.keys.clear()

    def on_pre_optimizer_step(self, *_: Any, model: nn.Module, **__: Any) -> None:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if not get_total_norm(gradients).isfinite():
            step = self.trainer.state.global_step + 1
            raise self.trainer.stopped(f"A gradient is not finite at step {step}")


def arguments_of(settings: QwenSettings) -> dict[str, Any]:
    """Arguments for transformers' TrainingArguments and trl's SFTConfig."""
    return {
        "output_dir": str(settings.out / f"{PART}-trainer"),
        "use_cpu": settings.torch_device == "cpu",
        "seed": settings.seed % 2**32,  # the largest value transformers accepts
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.batch,
        "per_device_eval_batch_size": settings.batch,
        "gradient_accumulation_steps": settings.accumulate,
        "learning_rate": settings.rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings.warmup,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.clip,
        "optim": settings.optimiser,
        "bf16": settings.weights == "bf16",
        "dataloader_num_workers": settings.workers,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,  # every sample has a picture
        "eval_strategy": "steps",
        "eval_steps": settings.eval_every,
        "eval_on_start": latest(settings.out) is None,
        "save_strategy": "steps",
        "save_steps": settings.save_every,
        "logging_steps": settings.log_every,
        "logging_nan_inf_filter": False,
        "report_to": "none",  # our trainer logs its own figures
        "disable_tqdm": True,
    }


def train_on(trainer: Guarded) -> None:
    """Trains from the last checkpoint or from the start, and measures at the end."""
    last = latest(trainer.folder)
    if last and step_of(last) >= trainer.args.max_steps:  # transformers would run one more step
        trainer.restore(last)
        if trainer.is_world_process_zero():
            sys.stderr.write(all_done(trainer.args.max_steps))
    else:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    if trainer.skipped and trainer.is_world_process_zero():
        sys.stderr.write(f"Samples that were not used: {reasons(trainer.skipped)}.\n")
    found = measured(trainer.folder)
    if not found or found[-1]["step"] < trainer.state.global_step:
        trainer.evaluate()


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, latest last."""
    found = [p for p in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def latest(folder: Path) -> Path | None:
    return next(reversed(checkpoints(folder)), None)


def measured(folder: Path) -> list[dict[str, Any]]:
    """All measurements of a run, each with its `step`."""
    file = folder / MEASURED
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []


def sweep(folder: Path) -> None:
    """Removes incomplete folders of a killed program."""
    for part in folder.glob(f"{PART}-*"):
        shutil.rmtree(part, ignore_errors=True)
