"""Where FLUX's weights are during use: three plans for three sizes of GPU.

Only a placement moves modules, so a host with its own memory manager (ComfyUI) replaces only this.
For inference only: the device gets copies of weights, which are discarded. Weights already on the
device (always, on the CPU) are used there; weights kept in their file's type (stored.py) are
converted on the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..record import InputError
from .folders import first_line
from .stored import computing_bytes, restore, stored_as

PLANS = ("auto", "resident", "phased", "streamed")
LIGHT = (
    10**9
)  # smaller modules (VAE, LoRA, CLIP), in bytes, stay on the device after their first use
ACTIVATIONS = 5 * 10**9  # bytes: about 1 GB per sample, 3 GB to decode 1024 x 1024 pixels
PINNED_SHARE = 2  # free host memory required, relative to a copy: torch rounds pinned memory up


class Placement(Protocol):
    """Moves modules to `device` for their use."""

    device: torch.device

    def on_device(self, *modules: nn.Module) -> AbstractContextManager[None]:
        """A context in which the modules are used on `device`."""
        ...

    def walk(self, blocks: Iterable[nn.Module]) -> Iterable[nn.Module]:
        """The blocks of a module on the device, each ready when it is yielded."""
        ...

    def release(self) -> None:
        """Frees the device's memory as far as the plan allows."""
        ...


class Resident:
    """Every module is moved to the device at its first use and stays there."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @contextmanager
    def on_device(self, *modules: nn.Module) -> Iterator[None]:
        for module in modules:
            restore(_tensors(module), self.device)
            # Checked first: a quantised module rejects even a move to its own device.
            if any(tensor.device != self.device for tensor in _tensors(module)):
                module.to(self.device)
        yield

    def walk(self, blocks: Iterable[nn.Module]) -> Iterable[nn.Module]:
        return blocks

    def release(self) -> None:
        pass


class Loan:
    """Tensors whose data are on the device until `give_back`; the host keeps the originals."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.homes: dict[Tensor, Tensor] = {}

    @property
    def size(self) -> int:
        return total_bytes(self.homes)

    def add(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            stored = stored_as(tensor)
            if tensor in self.homes or not (stored or tensor.device != self.device):
                continue
            self.homes[tensor] = tensor.data
            if stored:
                tensor.data = stored.restored(tensor.data, self.device)
            else:
                tensor.data = tensor.data.to(self.device, non_blocking=True)

    def give_back(self) -> None:
        for tensor, home in self.homes.items():
            tensor.data = home
        self.homes.clear()


class Lending:
    """Weights are in host memory and are copied to the device, one large module at a time.

    Not for weights quantised by bitsandbytes, whose scales are not parameters.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # Weak references free the copy of a discarded LoRA.
        self._loans: WeakKeyDictionary[nn.Module, Loan] = WeakKeyDictionary()

    @contextmanager
    def on_device(self, *modules: nn.Module) -> Iterator[None]:
        arriving = [module for module in modules if module not in self._loans]
        if any(total_bytes(self._lendable(module)) > LIGHT for module in arriving):
            for module, loan in list(self._loans.items()):
                if loan.size > LIGHT and module not in modules:
                    self._loans.pop(module).give_back()
        for module in modules:
            self._loans.setdefault(module, Loan(self.device)).add(self._lendable(module))
        yield

    def walk(self, blocks: Iterable[nn.Module]) -> Iterable[nn.Module]:
        return blocks

    def release(self) -> None:
        for loan in self._loans.values():
            loan.give_back()
        self._loans.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _lendable(self, module: nn.Module) -> list[Tensor]:
        return _tensors(module)


class Streaming(Lending):
    """Lending, but `blocks` are copied one by one, each while the previous one computes.

    diffusers' group offload does the same in hooks on `transformer.forward`, which the condition
    branch never calls: it would copy without overlap, and its tracer would grow at every step.
    """

    def __init__(self, device: torch.device, blocks: Iterable[nn.Module]) -> None:
        super().__init__(device)
        held = list(chain.from_iterable(map(_tensors, blocks)))
        self._streamed = {id(tensor) for tensor in held}
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        if self._copies and _may_pin(total_bytes(held)):
            for tensor in held:
                tensor.data = (
                    tensor.data.pin_memory()
                )  # copies from pageable memory are synchronous

    def walk(self, blocks: Iterable[nn.Module]) -> Iterator[nn.Module]:
        ordered = list(blocks)
        loans = [Loan(self.device) for _ in ordered]
        done: torch.Event | None = None
        if self._copies:  # the previous step may still use its last blocks
            self._copies.wait_stream(torch.cuda.current_stream(self.device))
        try:
            self._fetch(loans[0], ordered[0])
            for index, block in enumerate(ordered):
                self._wait_for_copies()
                if done:
                    done.synchronize()  # the previous block is finished, and its memory is free
                if index + 1 < len(ordered):
                    self._fetch(loans[index + 1], ordered[index + 1])
                yield block
                loans[index].give_back()
                done = self._mark()
        finally:
            for loan in loans:
                loan.give_back()

    def _lendable(self, module: nn.Module) -> list[Tensor]:
        return [tensor for tensor in _tensors(module) if id(tensor) not in self._streamed]

    def _fetch(self, loan: Loan, block: nn.Module) -> None:
        with torch.cuda.stream(self._copies) if self._copies else nullcontext():
            loan.add(_tensors(block))

    def _mark(self) -> torch.Event | None:
        """An event after all work queued on the device so far."""
        return torch.cuda.current_stream(self.device).record_event() if self._copies else None

    def _wait_for_copies(self) -> None:
        """Makes computation wait for all copies so far."""
        if self._copies:
            torch.cuda.current_stream(self.device).wait_stream(self._copies)


def choose_plan(free: int, sizes: Mapping[str, int]) -> str:
    """The fastest plan for `free` bytes of GPU memory; `sizes` are the modules' bytes by name."""
    if sum(sizes.values()) + ACTIVATIONS <= free:
        return "resident"
    heavy = max(sizes.values())
    light = sum(size for size in sizes.values() if size <= LIGHT)
    return "phased" if heavy + light + ACTIVATIONS <= free else "streamed"


def make_placement(
    plan: str, device: torch.device, modules: Mapping[str, nn.Module], blocks: Iterable[nn.Module]
) -> Placement:
    """The placement of a plan in PLANS; "auto" depends on the GPU's free memory."""
    if plan == "auto":
        sizes = {name: computing_bytes(_tensors(module)) for name, module in modules.items()}
        on_gpu = device.type == "cuda"
        plan = choose_plan(torch.cuda.mem_get_info(device)[0], sizes) if on_gpu else "resident"
    if plan == "resident":
        return Resident(device)
    return Lending(device) if plan == "phased" else Streaming(device, blocks)


def device_named(name: str | torch.device | None) -> torch.device:
    """The named device, by default a GPU if there is one; InputError if it is missing."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        value = torch.zeros((), device=device)  # raises if it is missing; adds the GPU's index
        value.item()  # fails on one that holds no values
        return value.device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(
            f"There is no device {str(name)!r} here{_why(error)}. Choose {' or '.join(_devices())}."
        ) from error


def _why(error: Exception) -> str:
    """Torch's reason as a clause; "" for its list of all device types, most of which are not here.

    Only the first sentence, since torch goes on for a page.
    """
    reason = first_line(error).partition(". ")[0].rstrip(".")
    return "" if reason.startswith("Expected one of") else f": {reason}"


def _devices() -> list[str]:
    """The devices of this machine, as --device takes them."""
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*(f"cuda:{number}" for number in range(torch.cuda.device_count())), *mps, "cpu"]


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors."""
    return sum(tensor.nbytes for tensor in tensors)


def _may_pin(size: int) -> bool:
    """Whether the host has memory to spare for a pinned copy.

    Otherwise the weights stay in the mapped files, and copying is slower.
    """
    import psutil  # installed with accelerate

    return psutil.virtual_memory().available >= PINNED_SHARE * size


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's memory ran out; MPS and the CPU raise a plain RuntimeError for it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(each in str(error) for each in words)
