"""Writes every graph of drawing/graphs.py for ComfyUI's canvas, and under api/ for its API.

`python workflows/make.py` rewrites the files here; with a folder it writes there instead.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from drawing.canvas import as_api, as_canvas
from drawing.graphs import GRAPHS


def main(folder: Path) -> None:
    (folder / "api").mkdir(parents=True, exist_ok=True)
    for graph in GRAPHS:
        write(folder / f"{graph.name}.json", as_canvas(graph))
        write(folder / "api" / f"{graph.name}.json", as_api(graph))


def write(file: Path, data: object) -> None:
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent)
