"""Faults made by hand in the search and its policies, and whether a test finds each of them.

    PYTHONPATH=.:tests python tests/benchmarks/mutants.py

Each fault is put into a copy of the core, and the tests of the search run on the copy until the
first one fails. A fault that no test finds is printed as SURVIVES, and the exit code is 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TESTS = ("golden_histories", "search", "search_rounds", "previews", "adaptive", "staged")

# (file under search/, what stands there, what the fault puts in its place)
MUTANTS = (
    ("policies.py", "DISPUTED = 0.25", "DISPUTED = 0.9"),
    ("policies.py", "if idle > progress_count(run)", "if idle >= progress_count(run)"),
    ("policies.py", "STARTS[restarts(chain) % len(STARTS)]", "STARTS[0]"),
    (
        "policies.py",
        "corrected < luby(restarts(chain) + 1)",
        "corrected < luby(restarts(chain))",
    ),
    ("loop.py", "done % settings.batch_size", "0"),
    ("loop.py", "not recorded and (", "("),
    ("budget.py", "cost.total_seconds + cost.slowest > limit", "cost.total_seconds > limit"),
    ("budget.py", "used + total <= limit", "used + total < limit"),
    ("budget.py", "return max(done, end - end % settings.batch_size)", "return end"),
    ("team.py", "self._remember()  # no picture", "pass  # no picture"),
    ("team.py", "preview.score <= rival.score", "preview.score < rival.score"),
    ("team.py", "self.settings.draft_prompt or self.prompt", "self.prompt"),
    ("seeds.py", "round_index * PLACES + position", "round_index + position"),
    ("strategies/reflection.py", "key=lambda candidate: candidate.score, reverse=True", "key=id"),
    (
        "strategies/staged.py",
        "new_noise(settings, past, position, ",
        "new_noise(settings, past, 0, ",
    ),
)


def found(folder: Path) -> bool:
    """True if a test fails on the copy in `folder`; raises RuntimeError if the tests cannot run."""
    files = [f"tests/core/test_{name}.py" for name in TESTS]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    if result.returncode not in (0, 1):
        raise RuntimeError(result.stdout.decode()[-2000:])
    return result.returncode == 1


def main() -> int:
    survivors = 0
    for name, before, after in MUTANTS:
        with tempfile.TemporaryDirectory() as made:
            for part in ("reflectionflow_core", "tests"):
                shutil.copytree(ROOT / part, Path(made) / part)
            shutil.copy(ROOT / "pyproject.toml", made)
            file = Path(made) / "reflectionflow_core" / "search" / name
            text = file.read_text("utf-8")
            if text.count(before) != 1:
                sys.exit(f"{name} has {text.count(before)} times {before!r}: adapt the fault")
            file.write_text(text.replace(before, after), "utf-8")
            killed = found(Path(made))
        survivors += not killed
        print(f"{'killed' if killed else 'SURVIVES'}  {name}: {before} -> {after}", flush=True)  # noqa: T201
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main())
