"""GPUs that --estimate knows, and its formulas for memory, time and exchange."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import counted
from train.settings import SettingNeeds, Strict

SUSTAINED = 0.4  # share of the peak that large bf16 matrix products reach; an assumption
LINKED = 0.7  # share of a link's bandwidth that large collectives reach; an assumption
USABLE = 0.94  # share of the memory; the rest is used by CUDA and lost to fragmentation


@dataclass(frozen=True, slots=True)
class Gpu:
    """The maker's figures: memory in GB, dense bf16 TFLOP/s, and the link's GB/s in one direction.

    The link is NVLink, or PCIe where there is no NVLink.
    """

    memory_gb: float
    peak_tflops: float
    link_gb: float


GPUS = {
    "RTX-4090": Gpu(24, 165, 32),
    "RTX-5090": Gpu(32, 210, 64),
    "L40S": Gpu(48, 362, 32),
    "A100-40GB": Gpu(40, 312, 300),
    "A100": Gpu(80, 312, 300),
    "H100": Gpu(80, 989, 450),
    "H200": Gpu(141, 989, 450),
    "B200": Gpu(180, 2250, 900),
}

ENCODERS = 4_970_000_000  # weights of FLUX.1's T5-XXL, CLIP-L and VAE
T5_WIDTH = 4096
# Operations of FLUX.1's VAE per pixel and of T5-XXL per token, counted on the meta device.
VAE_ENCODE, VAE_DECODE, T5_TOKEN = 4.65e6, 1.0e7, 9.45e9


class GpuKind(Strict):
    """The GPU assumed by --estimate. A run uses the GPUs that are present."""

    name: Literal["RTX-4090", "RTX-5090", "L40S", "A100-40GB", "A100", "H100", "H200", "B200"] = (
        Field(default="H100", description="GPU assumed by --estimate")
    )
    tflops: PositiveFloat | None = Field(
        default=None, description="sustained TFLOP/s in bf16; null: 40 % of the maker's peak"
    )

    elsewhere: ClassVar = {
        "count": "There is no setting gpu.count. The GPUs of train.data are those of its stages: "
        "set workers and gpus of engine.paint, engine.judge and engine.filter."
    }

    @property
    def speed(self) -> float:
        """Operations per second."""
        return (self.tflops or GPUS[self.name].peak_tflops * SUSTAINED) * 1e12

    @property
    def assumed(self) -> str:
        """The assumption as text."""
        basis = "as given" if self.tflops else f"{SUSTAINED:.0%} of its peak, an assumption"
        return f"{self.name} at {self.speed / 1e12:.0f} TFLOP/s in bf16 ({basis})"


class GpuSettings(GpuKind):
    """The GPUs of a program in which each holds all weights."""

    count: PositiveInt = Field(
        default=1,
        description="number of GPUs, with one process each; a step has as many batches more, so "
        "with fewer GPUs raise accumulate",
    )
    memory_gb: PositiveFloat | None = Field(
        default=None, description="memory of one GPU in GB; null: the maker's figure"
    )

    @property
    def memory(self) -> float:
        """Bytes available to a training on one GPU."""
        return (self.memory_gb or GPUS[self.name].memory_gb) * USABLE * 1e9

    @property
    def assumed(self) -> str:
        many = f"{self.count} x " if self.count > 1 else ""
        return f"{many}{super().assumed}"

    @property
    def shares_weights(self) -> bool:
        return False

    def exchange(self, size: float) -> float:
        """Seconds to gather `size` bytes of weights, or sum their gradients; 0 without sharding."""
        del size
        return 0.0


class ShardingGpuSettings(GpuSettings):
    """The GPUs of a program that can shard its weights."""

    sharded: bool = Field(
        default=False, description="whether the launcher shards the weights over the GPUs (FSDP)"
    )

    link_gb: PositiveFloat | None = Field(
        default=None,
        description="GB/s that a GPU receives from the others; null: 70 % of the maker's figure",
    )

    @property
    def shares_weights(self) -> bool:
        return self.sharded and self.count > 1

    @property
    def link(self) -> float:
        """Sustained GB/s."""
        return self.link_gb or GPUS[self.name].link_gb * LINKED

    def exchange(self, size: float) -> float:
        if not self.shares_weights:
            return 0.0
        return size * (self.count - 1) / self.count / (self.link * 1e9)


SHARED = SettingNeeds("gpu.count=2 or more", lambda s: s.gpu.count > 1 or not s.gpu.sharded)
LINKED_BY = SettingNeeds("gpu.sharded=true", lambda s: s.gpu.sharded)


def exchanging(computing: float, exchange: float, gpu: GpuSettings) -> str:
    """A sentence on computing and exchange times of a batch in seconds; "" without sharding."""
    if not isinstance(gpu, ShardingGpuSettings) or not gpu.shares_weights:
        return ""
    basis = "as given" if gpu.link_gb else f"{LINKED:.0%} of its link, an assumption"
    longer = "; larger batches exchange less often" if exchange > computing else ""
    return (
        f"a batch computes {computing:.2f} s and meanwhile exchanges weights for {exchange:.2f} s "
        f"at {gpu.link:.0f} GB/s ({basis}){longer}"
    )


def steps_of(settings: Any) -> str:
    """The steps of a training and the samples of one, as text."""
    batch, several, processes = settings.batch, settings.accumulate, settings.gpu.count
    a_step = batch * several * processes
    return (
        f"{settings.steps:,} of {counted(a_step, 'sample')} ({counted(batch, 'sample')} a batch, "
        f"{counted(several, 'batch', 'batches')} a step, "
        f"{counted(processes, 'process', 'processes')}), {settings.steps * a_step:,} in all"
    )


def forward_operations(blocks: int, width: int, tokens: int) -> float:
    """Operations of one sample's forward pass through a FLUX-like transformer.

    Per block: 24 D^2 per token, and 4 S^2 D for attention.
    """
    return blocks * (24 * width**2 * tokens + 4 * tokens**2 * width)


def check_fit(need: float, gpu: GpuSettings, text: str, ways: Iterable[tuple[str, float]]) -> str:
    """Returns `text` (an estimate) if `need` bytes fit into the GPU.

    Otherwise raises InputError with the text, the shortage, and which `ways` (settings, and the
    bytes needed with them) and GPUs would fit.
    """
    if need <= gpu.memory:
        return text
    fitting = [f"{way} ({bytes_ / 1e9:.0f} GB)" for way, bytes_ in ways if bytes_ <= gpu.memory]
    by_size = sorted(GPUS.items(), key=lambda item: item[1].memory_gb)
    larger = [f"gpu.name={name}" for name, g in by_size if need <= g.memory_gb * USABLE * 1e9]
    if gpu.memory_gb:  # outranks the name
        larger = [f"gpu.memory_gb={math.ceil(need / USABLE / 1e9)}"]
    found = ", or ".join((*fitting[:4], *larger[:1]))
    more = "Take more GPUs and gpu.sharded=true." if isinstance(gpu, ShardingGpuSettings) else ""
    raise InputError(
        f"{text}This does not fit: it needs {need / 1e9:.0f} GB a GPU, and {gpu.name} has "
        f"{gpu.memory / 1e9:.0f} GB for it. "
        + (f"It would with {found}." if found else more or "No GPU of the table has that much.")
    )


def smaller_batches(batch: int, accumulate: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Settings with smaller batches and the same number of samples per step."""
    while batch > 1 and batch % 2 == 0:
        batch, accumulate = batch // 2, accumulate * 2
        yield (
            f"batch={batch} accumulate={accumulate}",
            {"batch": batch, "accumulate": accumulate},
        )
