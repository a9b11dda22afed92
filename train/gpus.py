"""The GPU that every --estimate reckons with: one table, named and overridden by the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from reflectionflow_core.record import InputError
from train.settings import SettingNeeds, Strict

SUSTAINED = 0.4  # of the peak, by large matrix products in bf16; an assumption
LINKED = 0.7  # of what a link may carry one way, by collectives of many megabytes; an assumption
USABLE = 0.94  # of the memory; the rest is CUDA's own and lost between allocations


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the maker states: gigabytes of memory, dense bf16 operations a second / 1e12, and
    gigabytes a second one way over NVLink, or over PCIe where it has no other link.
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
# Operations of FLUX.1's VAE a pixel and of T5-XXL a token, counted on the meta device.
VAE_ENCODE, VAE_DECODE, T5_TOKEN = 4.65e6, 1.0e7, 9.45e9


class GpuKind(Strict):
    """What --estimate assumes of a GPU; a run takes those that are there."""

    name: Literal["RTX-4090", "RTX-5090", "L40S", "A100-40GB", "A100", "H100", "H200", "B200"] = (
        Field(default="H100", description="GPU assumed by --estimate")
    )
    tflops: PositiveFloat | None = Field(
        default=None, description="sustained TFLOP/s in bf16; None: 40 % of the maker's peak"
    )

    @property
    def speed(self) -> float:
        """Operations a second."""
        return (self.tflops or GPUS[self.name].peak_tflops * SUSTAINED) * 1e12

    @property
    def assumed(self) -> str:
        """The assumption in words."""
        basis = "as given" if self.tflops else f"{SUSTAINED:.0%} of its peak, an assumption"
        return f"{self.name} at {self.speed / 1e12:.0f} TFLOP/s in bf16 ({basis})"


class GpuSettings(GpuKind):
    """The GPUs of a program in which each holds all weights."""

    count: PositiveInt = Field(default=1, description="number of GPUs, with one process each")
    memory_gb: PositiveFloat | None = Field(
        default=None, description="memory of one GPU in GB; None: the maker's figure"
    )

    @property
    def memory(self) -> float:
        """Bytes that one GPU has for a training."""
        return (self.memory_gb or GPUS[self.name].memory_gb) * USABLE * 1e9

    @property
    def assumed(self) -> str:
        many = f"{self.count} x " if self.count > 1 else ""
        return f"{many}{super().assumed}"

    @property
    def shares_weights(self) -> bool:
        return False

    def exchange(self, size: float) -> float:
        """Seconds in which `size` bytes of sharded weights come together on every GPU, or gradients
        are summed over them; 0 where nothing is sharded.
        """
        del size
        return 0.0


class ShardingGpuSettings(GpuSettings):
    """Those of a program that can shard its weights over them."""

    sharded: bool = Field(
        default=False, description="whether the launcher shards the weights over the GPUs (FSDP)"
    )

    link_gb: PositiveFloat | None = Field(
        default=None,
        description="GB/s that a GPU receives from the others; None: 70 % of the maker's figure",
    )

    @property
    def shares_weights(self) -> bool:
        return self.sharded

    @property
    def link(self) -> float:
        """GB a second, sustained."""
        return self.link_gb or GPUS[self.name].link_gb * LINKED

    def exchange(self, size: float) -> float:
        return size * (self.count - 1) / self.count / (self.link * 1e9) if self.sharded else 0.0


SHARED = SettingNeeds("gpu.count=2 or more", lambda s: s.gpu.count > 1 or not s.gpu.sharded)
LINKED_BY = SettingNeeds("gpu.sharded=true", lambda s: s.gpu.sharded)


def exchanging(computing: float, exchange: float, gpu: GpuSettings) -> str:
    """What a batch computes and exchanges, in seconds each, as a sentence; "" where nothing is
    sharded.
    """
    if not isinstance(gpu, ShardingGpuSettings) or not gpu.sharded:
        return ""
    basis = "as given" if gpu.link_gb else f"{LINKED:.0%} of its link, an assumption"
    longer = "; larger batches exchange less often" if exchange > computing else ""
    return (
        f"a batch computes {computing:.2f} s and meanwhile exchanges weights for {exchange:.2f} s "
        f"at {gpu.link:.0f} GB/s ({basis}){longer}"
    )


def forward_operations(blocks: int, width: int, tokens: int) -> float:
    """Of one sample's forward through a transformer of FLUX's kind: 24 D^2 a token and 4 S^2 D for
    attention, a block.
    """
    return blocks * (24 * width**2 * tokens + 4 * tokens**2 * width)


def check_fit(need: float, gpu: GpuSettings, text: str, ways: Iterable[tuple[str, float]]) -> str:
    """`text`, an estimate, where `need` bytes fit into the GPU.

    Else InputError with the text, the lack, and which of the `ways` (settings, and the bytes with
    them) and GPUs would fit.
    """
    if need <= gpu.memory:
        return text
    fitting = [f"{way} ({bytes_ / 1e9:.0f} GB)" for way, bytes_ in ways if bytes_ <= gpu.memory]
    by_size = sorted(GPUS.items(), key=lambda item: item[1].memory_gb)
    larger = [f"gpu.name={name}" for name, g in by_size if need <= g.memory_gb * USABLE * 1e9]
    found = ", or ".join((*fitting[:4], *larger[:1]))
    more = "Take more GPUs and gpu.sharded=true." if isinstance(gpu, ShardingGpuSettings) else ""
    raise InputError(
        f"{text}This does not fit: it needs {need / 1e9:.0f} GB a GPU, and {gpu.name} has "
        f"{gpu.memory / 1e9:.0f} GB for it. "
        + (f"It would with {found}." if found else more or "No GPU of the table has that much.")
    )


def smaller_batches(batch: int, accumulate: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Settings that hold fewer samples at once, with as many a step."""
    while batch > 1 and batch % 2 == 0:
        batch, accumulate = batch // 2, accumulate * 2
        yield (
            f"batch={batch} accumulate={accumulate}",
            {"batch": batch, "accumulate": accumulate},
        )
