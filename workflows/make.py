"""Writes every template for ComfyUI's canvas, and under api/ for its API.

`python workflows/make.py` rewrites the files here, the blueprints in subgraphs/ and the graphs of
the tests; with a folder it writes there instead, into templates/, subgraphs/ and graphs/.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from drawing.blueprints import BLUEPRINTS
from drawing.canvas import as_api, as_canvas
from drawing.graphs import TEMPLATES
from drawing.miniatures import MINIATURES
from drawing.subgraphs import as_blueprint

HERE = Path(__file__).parent


def main(templates: Path, subgraphs: Path, graphs: Path) -> None:
    for folder in (templates / "api", subgraphs, graphs):
        folder.mkdir(parents=True, exist_ok=True)
    for graph in TEMPLATES:
        write(templates / f"{graph.title}.json", as_canvas(graph))
        write(templates / "api" / f"{graph.name}.json", as_api(graph))
    for blueprint in BLUEPRINTS:
        write(subgraphs / f"{blueprint.title}.json", as_blueprint(blueprint))
    for graph in MINIATURES:
        write(graphs / f"{graph.name}.json", as_api(graph))


def write(file: Path, data: object) -> None:
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8", newline="\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*(Path(sys.argv[1]) / name for name in ("templates", "subgraphs", "graphs")))
    else:
        root = HERE.parent
        main(HERE, root / "subgraphs", root / "tests" / "nodes" / "graphs")
