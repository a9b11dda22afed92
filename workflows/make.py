"""Writes every template for ComfyUI's canvas, and under api/ for its API.

`python workflows/make.py` rewrites the files here, and the graphs of the tests; with a folder it
writes there instead: the templates into templates/, the graphs of the tests into graphs/.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from drawing.canvas import as_api, as_canvas
from drawing.graphs import TEMPLATES
from drawing.miniatures import MINIATURES

HERE = Path(__file__).parent


def main(templates: Path, graphs: Path) -> None:
    for folder in (templates / "api", graphs):
        folder.mkdir(parents=True, exist_ok=True)
    for graph in TEMPLATES:
        write(templates / f"{graph.title}.json", as_canvas(graph))
        write(templates / "api" / f"{graph.name}.json", as_api(graph))
    for graph in MINIATURES:
        write(graphs / f"{graph.name}.json", as_api(graph))


def write(file: Path, data: object) -> None:
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8", newline="\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]) / "templates", Path(sys.argv[1]) / "graphs")
    else:
        main(HERE, HERE.parent / "tests" / "nodes" / "graphs")
