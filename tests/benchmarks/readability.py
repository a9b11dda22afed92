"""How much code one reads to understand the search, and how the code is cut up.

    PYTHONPATH=.:tests python tests/benchmarks/readability.py

Traces a search of toys that paints one draft and one correction, then counts functions and files.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from types import CodeType, FrameType
from typing import Any

from fakes import toy_actors

from reflectionflow_core.search import search
from reflectionflow_core.settings import SearchSettings

ROOT = Path(__file__).parent.parent.parent
SEARCH = ROOT / "reflectionflow_core" / "search"
PRODUCT = ("reflectionflow_core", "nodes", "train", "workflows")
OURS = tuple(str(ROOT / folder) for folder in PRODUCT)


def traced() -> tuple[set[tuple[str, int]], set[CodeType]]:
    """Every (file, line) and every function that a draft and a correction run through."""
    lines: set[tuple[str, int]] = set()
    functions: set[CodeType] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(OURS) or "fakes" in code.co_filename:
            return None
        if event == "call" and not code.co_name.startswith("<"):
            functions.add(code)
        if event == "line":
            lines.add((code.co_filename, frame.f_lineno))
        return trace

    actors, settings = toy_actors(), SearchSettings(width=1, depth=1)
    sys.settrace(trace)
    try:
        list(search("two green bowls", settings, actors))
    finally:
        sys.settrace(None)
    return lines, {code for code in functions if code.co_filename != __file__}


def function_lengths(file: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def main() -> None:
    lines, functions = traced()
    for title, folder in (("search/", SEARCH), ("everything", ROOT)):
        own = {line for line in lines if line[0].startswith(str(folder))}
        called = {code for code in functions if code.co_filename.startswith(str(folder))}
        files = {Path(code.co_filename) for code in called}
        print(f"{title}: {len(own)} lines, {len(called)} functions, {len(files)} files")  # noqa: T201
    for folder in PRODUCT:
        files = sorted((ROOT / folder).rglob("*.py"))
        lengths = [length for file in files for length in function_lengths(file)]
        sizes = [len(file.read_text("utf-8").splitlines()) for file in files]
        deciles = quantiles(lengths, n=10)
        print(  # noqa: T201
            f"{folder}: {len(files)} files, {sum(sizes)} lines, largest file {max(sizes)}; "
            f"functions median {deciles[4]:.0f}, p90 {deciles[8]:.0f}, longest {max(lengths)}"
        )


if __name__ == "__main__":
    main()
