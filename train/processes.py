"""This process among those that `accelerate launch` or `torchrun` started, or alone."""

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


# A verdict's mappings are read-only, and the standard library sends no such mapping to a process.
copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))


def join(device: str = "") -> PartialState:
    """Its number, theirs and the device; the first call decides between "cpu" and GPUs.

    Raises InputError for "cuda" without a GPU, as the CPU would silently take weeks.
    """
    import torch
    from accelerate import PartialState

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here. Remove device=cuda to compute on the CPU.")
    return PartialState(cpu=device == "cpu" or not torch.cuda.is_available())


def wait_for_all() -> None:
    """Until every process has come this far."""
    join().wait_for_everyone()


def agreed(act: Callable[[], Made]) -> Made:
    """What the first process makes, in all of them, also its InputError. Every process is to call
    it: a judge may answer each differently, and those that share weights would wait for each other.
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
    """Raises InputError where a program that does not shard weights was started for it."""
    if shares_weights():
        raise InputError(f"{program} does not shard weights. Start it with torchrun instead.")
