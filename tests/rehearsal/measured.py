"""Runs a command and watches the memory of its process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OUT_OF_MEMORY_FIRST = "1000"  # the system ends this process before any other
INTERVAL = 0.2


@dataclass(frozen=True)
class Measured:
    """Seconds, and the highest bytes of memory: the process's own, and of mapped files."""

    seconds: float
    own: int
    mapped: int
    failure: str = ""


class Watch:
    """The peaks of one process, where the system has /proc; 0 elsewhere."""

    def __init__(self, process: int) -> None:
        self.folder = Path(f"/proc/{process}")
        self.own = self.mapped = 0
        score = self.folder / "oom_score_adj"
        if score.is_file():
            score.write_text(OUT_OF_MEMORY_FIRST)

    def look(self) -> None:
        try:
            lines = (self.folder / "status").read_text().splitlines()
        except OSError:  # it has ended
            return
        found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
        self.own = max(self.own, int(found.get("RssAnon", 0)) * 1024)
        self.mapped = max(self.mapped, int(found.get("RssFile", 0)) * 1024)


def run(
    command: Sequence[str], environment: Mapping[str, str], log: Path, limit: float
) -> Measured:
    """The command's measures; `failure` is the last line that it wrote if it did not succeed."""
    begin = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
        watch = Watch(process.pid)
        over = watched(watch, lambda: process.poll() is not None, begin + limit)
        if not over:
            process.kill()
            process.wait()
    seconds = time.monotonic() - begin
    failure = "" if process.returncode == 0 else _last_line(log)
    if not over:
        failure = f"not done after {limit:.0f} s"
    return Measured(seconds, watch.own, watch.mapped, failure)


def watched(watch: Watch, is_over: Callable[[], bool], until: float) -> bool:
    """Whether it was over before the time `until`."""
    while not is_over():
        if time.monotonic() > until:
            return False
        watch.look()
        time.sleep(INTERVAL)
    return True


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "ended without a word"
