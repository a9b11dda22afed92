"""This process among those started by `accelerate launch` or `torchrun`, or alone."""

from __future__ import annotations

import copyreg
import os
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from reflectionflow_core.record import InputError

if TYPE_CHECKING:
    from accelerate import PartialState

Made = TypeVar("Made")


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


# A verdict's mappings are read-only, and read-only mappings cannot be pickled by default.
copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))


def join(device: str = "") -> PartialState:
    """This process's number, the number of processes and the device.

    The first call decides between "cpu" and GPUs. InputError for "cuda" without a GPU.
    """
    import torch
    from accelerate import PartialState

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device. Remove device=cuda to use the CPU.")
    return PartialState(cpu=device == "cpu" or not torch.cuda.is_available())


def wait_for_all() -> None:
    """Waits until every process has reached this point."""
    join().wait_for_everyone()


def agreed(act: Callable[[], Made]) -> Made:
    """The result of `act` in the first process, sent to all processes; also its InputError.

    Every process must call it. A judge may answer differently in each process, and processes that
    share weights would then wait for each other.
    """
    from accelerate.utils import broadcast_object_list

    process = join()
    if process.num_processes == 1:
        return act()
    said: list[Any] = [None, None]
    if process.is_main_process:
        try:
            said[0] = act()
        except InputError as error:
            said[1] = str(error)
    made, refused = broadcast_object_list(said)
    if refused is not None:
        raise InputError(refused)
    return made


def shares_weights() -> bool:
    """Whether the launcher shards weights over the processes (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def refuse_sharding(program: str) -> None:
    """InputError if a program that cannot shard weights was started with FSDP."""
    if shares_weights():
        raise InputError(f"{program} cannot shard weights. Start it with torchrun instead.")
