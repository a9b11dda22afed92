"""A training of the tiny writer in this process of several, its weights sharded: run by
test_writer_training.py under torch.distributed.run. accelerate shards on GPUs only, so it is told
that the processes are on some; gloo and the CPU compute.
"""

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import accelerate.state
import torch.distributed.tensor
from train_judges import RUN

from train.writer import training
from train.writer.settings import WriterSettings

begin = accelerate.state.PartialState.__init__


def on_gpus(self: accelerate.state.PartialState, *args: Any, **kwargs: Any) -> None:
    begin(self, *args, **kwargs)
    kinds = accelerate.state.DistributedType
    if self._shared_state["distributed_type"] == kinds.MULTI_CPU:
        self._shared_state["distributed_type"] = kinds.MULTI_GPU


accelerate.state.PartialState.__init__ = on_gpus


if __name__ == "__main__":
    out, steps = Path(sys.argv[1]), int(sys.argv[2])
    changes = {"out": out, "steps": steps, "batch": 1, "answers": 0, "gain": {"pictures": 0}}
    gathered = training.WriterTrainer.gathered

    def checked(trainer: Any) -> dict[str, torch.Tensor] | None:
        kinds = {type(p.data) for p in trainer.model.parameters()}
        assert kinds == {torch.distributed.tensor.DTensor}  # it is sharded
        return gathered(trainer)

    with patch.object(training.WriterTrainer, "gathered", checked):
        training.train(WriterSettings(**{**RUN, **changes}))
