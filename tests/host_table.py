"""The table of hosts in docs/judges.md: each scripted host is checked as before a search, with an
oracle that sees and with a blind one, and asked a closed question.

    python tests/host_table.py            prints the table
    python tests/host_table.py --write    writes it into docs/judges.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from PIL import Image
from vlm_asking import FAST, endpoint_of
from vlm_hosts import HOSTS, Host, as_if
from vlm_server import Asked, Reply, VlmServer, refuses, says

from reflectionflow_core.vlm.interface import Question
from reflectionflow_core.vlm.judge_check import objection, probe

PAGE = Path(__file__).parents[1] / "docs" / "judges.md"
TITLE = "| host | what is peculiar | works | what is done |"
CUP = Question("Is the cup red?", (Image.new("RGB", (8, 8), "red"),))
HURRIED = replace(FAST, tries=1, loading_seconds=0.01)


def texts_only(asked: Asked) -> Reply:
    return refuses(400, "this model has no image input") if asked.pictures else says("yes")


SENTENCE = "one sentence with the server's words"
LACKING = [
    Host("a model without pictures", "refuses them", f"{SENTENCE}, before the search", texts_only),
    Host(
        "a model that is sent no pictures",
        "answers all the same",
        "found by two plain pictures before the search",
        lambda _: says("red"),
    ),
    Host("wrong key", "401", SENTENCE, lambda _: refuses(401, "who are you")),
    Host("no such model", "404", SENTENCE, lambda _: refuses(404, "no such model")),
    Host(
        "no credit",
        "an error under status 200",
        SENTENCE,
        lambda _: Reply(b'{"error": {"code": 402, "message": "no credit"}}'),
    ),
    Host(
        "a server that loads its model",
        "503",
        "waited for, two minutes by default; then one sentence",
        lambda _: refuses(503, "Loading model"),
    ),
]


def table() -> Iterator[str]:
    """Its lines as Markdown."""
    yield TITLE
    yield "|---|---|---|---|"
    for host in (*HOSTS, *LACKING):
        yield f"| {host.name} | {host.peculiar} | {_works(host)} | {host.done} |"


def _works(host: Host) -> str:
    with VlmServer(as_if(host, "sees")) as server:
        endpoint = endpoint_of(server, HURRIED)
        why = objection(probe(endpoint))
        (odds,) = endpoint.choose([CUP], ("yes", "no"))
    if why:
        return "no: a clear error" if why.endswith(".") and "\n" not in why else why
    with VlmServer(as_if(host, "blind")) as server:
        unnoticed = not objection(probe(endpoint_of(server, HURRIED)))
    right = isinstance(odds, tuple) and odds[0] > odds[1]
    return "yes" if right and not unnoticed else "no"


def written() -> list[str]:
    """The lines of the table on the page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index(TITLE)
    end = next(i for i in range(start, len(lines) + 1) if "".join(lines[i : i + 1])[:1] != "|")
    return lines[start:end]


def main() -> int:
    made = list(table())
    if "--write" in sys.argv[1:]:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(text.replace("\n".join(written()), "\n".join(made)), encoding="utf-8")
    sys.stdout.write("\n".join(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
