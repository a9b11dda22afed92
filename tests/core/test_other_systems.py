"""What Windows and macOS do otherwise than Linux, as far as a Linux can tell."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [
    file for folder in ("nodes", "reflectionflow_core") for file in (ROOT / folder).rglob("*.py")
]
SHIPPED = [
    path
    for folder in ("nodes", "reflectionflow_core", "workflows", "subgraphs", "locales", "docs")
    for path in (ROOT / folder).rglob("*")
    if "__pycache__" not in path.parts
]
RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
# As on Windows: its platform, its modules (a stand-in for msvcrt), none of POSIX's.
AS_WINDOWS = """
import sys, types
import asyncio, multiprocessing, pathlib, socket, subprocess, tempfile, PIL.Image, numpy, torch
sys.platform = "win32"
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"):
    sys.modules[name] = None
locked = types.ModuleType("msvcrt")
locked.LK_NBLCK, locked.locking = 2, lambda *given: None
sys.modules["msvcrt"] = locked
import reflectionflow_core.archive.files, reflectionflow_core.search.loop
import reflectionflow_core.vlm.consent, reflectionflow_core.evaluation.work as work
work.Path = lambda name: pathlib.Path("nowhere")
assert work.resident_peak() is None
"""


def test_the_core_is_imported_where_posix_is_not() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", AS_WINDOWS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_every_name_of_a_file_is_legal_on_windows() -> None:
    assert len(SHIPPED) > 300
    for path in SHIPPED:
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]', path.name), path
        assert not path.name.endswith((".", " ")), path
        assert not RESERVED.match(path.name), path
    small = [str(path).lower() for path in SHIPPED]
    assert len(set(small)) == len(small)  # Windows and macOS know no capitals


def test_64_bit_floats_are_made_on_the_cpu_only() -> None:
    """MPS has none: a tensor goes to the CPU first, and generators of 64-bit noise are there."""
    for file in SOURCES:
        text = file.read_text("utf-8")
        for found in re.finditer(r"\.double\(\)", text):
            assert text[: found.start()].endswith(".cpu()"), f"{file}: {found.start()}"
        assert not re.search(r"\.to\([^)]*(float64|double)", text), file
