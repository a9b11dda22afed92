"""A training of the tiny writer in this process of several, its weights sharded: run by
test_writer_training.py under torch.distributed.run. accelerate shards on GPUs only, so it is told
that the processes are on some; gloo and the CPU compute.
"""

import sys
from pathlib import Path

import accelerate.state
import torch.distributed.tensor
from train_judges import RUN

from train.writer import training
from train.writer.settings import WriterSettings

begin = accelerate.state.PartialState.__init__


def on_gpus(self: accelerate.state.PartialState, *args: object, **kwargs: object) -> None:
    begin(self, *args, **kwargs)
    self._shared_state["distributed_type"] = accelerate.state.DistributedType.MULTI_GPU


accelerate.state.PartialState.__init__ = on_gpus


if __name__ == "__main__":
    out, steps = Path(sys.argv[1]), int(sys.argv[2])
    changes = {"out": out, "steps": steps, "batch": 1, "answers": 0, "gain": {"pictures": 0}}
    gathered = training.WriterTrainer.gathered

    def checked(trainer: training.WriterTrainer) -> dict:
        kinds = {type(p.data) for p in trainer.model.parameters()}
        assert kinds == {torch.distributed.tensor.DTensor}  # it is sharded
        return gathered(trainer) or {}

    training.WriterTrainer.gathered = checked
    training.train(WriterSettings(**{**RUN, **changes}))
