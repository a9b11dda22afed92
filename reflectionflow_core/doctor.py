"""Reports what is installed on this machine and what would run on it; changes nothing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from . import __version__, plugins

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "safetensors", "pillow", "numpy")
GB = 10**9
# Full-size FLUX.1 in bf16: what the parts weigh together, and GPU memory by plan.
FLUX_WEIGHTS = 34
FLUX_PLANS = (("resident", 40), ("phased", 30), ("streamed", 14))
COLUMN = 16


def versions() -> dict[str, str]:
    """The pack's version and those of the libraries that can change a picture."""
    return {
        "reflectionflow": __version__,
        "python": platform.python_version(),
        **{name: _installed(name) for name in LIBRARIES},
        **plugins.installed(),
    }


def findings() -> str:
    """All that is known of this machine, one fact a line."""
    groups = {
        "Versions": _table(versions()),
        "Machine": [*_machine(), *_devices()],
        "Miniature": _miniature(),
        "Full-size FLUX.1 in bf16": list(_flux()),
        "Vision-language models": _vlm(),
    }
    return "".join(
        f"{title}\n" + "".join(f"  {line}\n" for line in lines) for title, lines in groups.items()
    )


def model_findings(source: str) -> str:
    """What a diffusers folder or hub id would do in a search, one fact a line."""
    from .pipelines.describing import described

    return f"{source}\n" + "".join(f"  {line}\n" for line in _table(described(source)))


def _table(facts: dict[str, str]) -> list[str]:
    return [f"{name:<{COLUMN}}{fact}" for name, fact in facts.items()]


def _installed(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _machine() -> list[str]:
    memory = host_memory()
    known = f"{memory / GB:.0f} GB" if memory else "unknown"
    return _table(
        {"system": platform.platform(), "cores": str(os.cpu_count()), "memory": known},
    )


def _devices() -> list[str]:
    if not find_spec("torch"):
        return _table({"devices": "unknown: torch is not installed"})
    import torch

    gpus = [
        f"{torch.cuda.get_device_name(i)}, {total / GB:.0f} GB, {free / GB:.0f} GB free"
        for i in range(torch.cuda.device_count())
        for free, total in [torch.cuda.mem_get_info(i)]
    ]
    if torch.backends.mps.is_available():
        gpus.append("Apple GPU (mps)")
    return _table({"devices": "; ".join(["cpu", *gpus])})


def _miniature() -> list[str]:
    from .registry import MINIATURE_WEIGHTS, ActorChoice, miniature

    size = sum(file.stat().st_size for file in MINIATURE_WEIGHTS.rglob("*") if file.is_file())
    if not size:
        return ["no weights: train them with python -m train.miniature"]
    try:
        miniature(ActorChoice(), corrects=True)
    except Exception as error:  # any fault is reported, and the other checks go on
        return [f"{size / GB * 1000:.1f} MB of weights do not load: {error}"]
    return [f"{size / GB * 1000:.1f} MB of weights, which load: reflectionflow run works here"]


def _flux() -> Iterator[str]:
    memory, free = host_memory(), _free_gpu_memory()
    if memory and memory < FLUX_WEIGHTS * GB:
        yield (
            f"would be read from the disk again and again: its weights take {FLUX_WEIGHTS} GB, "
            f"this machine has {memory / GB:.0f} GB of memory"
        )
    if free is None:
        yield "no CUDA device: it would paint on the CPU, which takes many minutes a picture"
        return
    for plan, need in FLUX_PLANS:
        enough = "would run" if need * GB <= free else "would not run"
        memory = f"needs {need} GB of GPU memory, {free / GB:.0f} GB free"
        yield f"--offload {plan:<10}{enough}: {memory}"


def _vlm() -> list[str]:
    needs = {"--vlm endpoint": ("openai", "pydantic"), "--vlm FOLDER": ("transformers", "pydantic")}
    missing = {
        option: [library for library in libraries if not find_spec(library)]
        for option, libraries in needs.items()
    }
    return _table(
        {
            option: f"needs {' and '.join(names)}: not installed" if names else "installed"
            for option, names in missing.items()
        }
    )


def _free_gpu_memory() -> int | None:
    if not find_spec("torch"):
        return None
    import torch

    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None


def host_memory() -> int | None:
    """Bytes of memory that this machine has; None where the system does not say."""
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
