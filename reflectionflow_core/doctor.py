"""Reports what is installed on this machine and what would run on it; changes nothing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from . import __version__, plugins
from .record import InputError

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "safetensors", "pillow", "numpy")
GB = 10**9
# Full-size FLUX.1 in bf16: size of all weights, and GPU memory by plan.
FLUX_WEIGHTS = 34
FLUX_PLANS = (("resident", 40), ("phased", 30), ("streamed", 14))
COLUMN = 20
NEEDED = ("torch", "diffusers", "transformers", "safetensors")  # needed by the miniature


def versions() -> dict[str, str]:
    """The versions of the pack and of libraries that can change a picture."""
    return {
        "reflectionflow": __version__,
        "python": platform.python_version(),
        **{name: _installed(name) for name in LIBRARIES},
        **plugins.installed(),
    }


Facts = dict[str, str]


def findings() -> dict[str, Facts]:
    """Everything known about this machine, by subject."""
    return {
        "Versions": versions(),
        "Machine": {**_machine(), "devices": _devices()},
        "Miniature": {"weights": _miniature()},
        "Full-size FLUX.1 in bf16": dict(_flux()),
        "Vision-language models": _vlm(),
    }


def model_findings(source: str) -> Facts:
    """What a diffusers folder or hub ID would be used for in a search."""
    from .pipelines.describing import described

    return described(source)


def findings_text(groups: Mapping[str, Facts]) -> str:
    """The findings, one per line."""
    return "".join(
        f"{title}\n" + "".join(f"  {name:<{COLUMN}}{fact}\n" for name, fact in facts.items())
        for title, facts in groups.items()
    )


def _installed(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _machine() -> Facts:
    memory = host_memory()
    known = f"{memory / GB:.0f} GB" if memory else "unknown"
    return {"system": platform.platform(), "cores": str(os.cpu_count()), "memory": known}


def _devices() -> str:
    if not find_spec("torch"):
        return "unknown: torch is not installed"
    import torch

    gpus = [
        f"{torch.cuda.get_device_name(i)}, {total / GB:.0f} GB, {free / GB:.0f} GB free"
        for i in range(torch.cuda.device_count())
        for free, total in [torch.cuda.mem_get_info(i)]
    ]
    if torch.backends.mps.is_available():
        gpus.append("Apple GPU (mps)")
    return "; ".join(["cpu", *gpus])


def _miniature() -> str:
    """Whether its files are complete and its requirements installed; loading would take longer."""
    from .flux.folders import check_weights
    from .registry import MINIATURE_WEIGHTS

    files = [file for file in MINIATURE_WEIGHTS.rglob("*") if file.is_file()]
    if not files:
        return "missing: train them with python -m train.miniature"
    size = f"{sum(file.stat().st_size for file in files) / 10**6:.1f} MB"
    if absent := [name for name in NEEDED if not find_spec(name)]:
        return f'{size}, but {" and ".join(absent)} not installed: pip install -e ".[all]"'
    try:
        for file in files:
            if file.suffix == ".safetensors":
                check_weights(file)
    except InputError as error:
        return f"{size}, of which some do not load: {error}"
    return f"{size}, whole: reflectionflow run works here"


def _flux() -> Iterator[tuple[str, str]]:
    memory, free = host_memory(), _free_gpu_memory()
    if memory and memory < FLUX_WEIGHTS * GB:
        yield (
            "memory",
            f"would be read from the disk again and again: its weights take {FLUX_WEIGHTS} GB, "
            f"this machine has {memory / GB:.0f} GB of memory",
        )
    if free is None:
        yield "device", "no CUDA: it would paint on the CPU, which takes many minutes a picture"
        return
    for plan, need in FLUX_PLANS:
        enough = "would run" if need * GB <= free else "would not run"
        memory = f"needs {need} GB of GPU memory, {free / GB:.0f} GB free"
        yield f"--offload {plan}", f"{enough}: {memory}"


def _vlm() -> Facts:
    needs = {"--vlm endpoint": ("openai", "pydantic"), "--vlm FOLDER": ("transformers", "pydantic")}
    missing = {
        option: [library for library in libraries if not find_spec(library)]
        for option, libraries in needs.items()
    }
    return {
        option: f"needs {' and '.join(names)}: not installed" if names else "installed"
        for option, names in missing.items()
    }


def _free_gpu_memory() -> int | None:
    if not find_spec("torch"):
        return None
    import torch

    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None


def host_memory() -> int | None:
    """Bytes of memory of this machine; None if the system does not report it."""
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _windows_memory() -> int | None:
    import ctypes

    kilobytes = ctypes.c_ulonglong()
    known = ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))  # type: ignore[attr-defined]
    return kilobytes.value * 1024 if known else None
