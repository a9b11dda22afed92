"""Runs a workflow on a ComfyUI from a script, saves its pictures and prints its report.

pip install websocket-client
python client.py first_look.json --prompt "a photo of a blue square" --out pictures
"""

# ruff: noqa: T201

import argparse
import io
import json
import sys
import uuid
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import websocket  # of the package websocket-client

FAILED = (OSError, websocket.WebSocketException)


def run(server: str, graph: dict) -> dict:
    """Queues a graph, waits until it is done, and returns what ComfyUI remembers of it."""
    client = uuid.uuid4().hex
    try:
        events = websocket.create_connection(f"ws://{server}/ws?clientId={client}")
    except FAILED as error:
        raise SystemExit(
            f"No ComfyUI answers at {server} ({reason(error)}). Start it, or give its address with "
            "--server."
        ) from None
    body = json.dumps({"prompt": graph, "client_id": client}).encode()
    try:
        prompt_id = json.load(urlopen(Request(f"http://{server}/prompt", body)))["prompt_id"]
    except HTTPError as refused:
        raise SystemExit(refusal(json.load(refused), graph)) from None
    while True:
        try:
            received = events.recv()
        except FAILED as error:
            raise SystemExit(f"ComfyUI ended the connection ({reason(error)}).") from None
        event = json.loads(received) if isinstance(received, str) else {}  # or else a preview
        data = event.get("data", {})
        if data.get("prompt_id") != prompt_id:
            continue
        if event["type"] == "execution_error":
            raise SystemExit(f"{data['node_type']}: {data['exception_message'].strip()}")
        if event["type"] == "execution_interrupted":
            raise SystemExit("It was interrupted.")
        if event["type"] == "executing" and data["node"] is None:
            return json.load(urlopen(f"http://{server}/history/{prompt_id}"))[prompt_id]


def reason(error: Exception) -> str:
    """Why there is no connection, without the headers and the page that a server sent."""
    return getattr(error, "strerror", None) or str(error).partition(" -+-+- ")[0]


def read_graph(file: Path, prompt: str | None) -> dict:
    """The workflow in a file, with another prompt where one is given."""
    try:
        graph = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{file} cannot be read ({error}). Give a workflow as JSON.") from None
    nodes = graph.values() if isinstance(graph, dict) else [None]
    if not all(isinstance(node, dict) and {"class_type", "inputs"} <= {*node} for node in nodes):
        raise SystemExit(f"{file} is not in API format. Take one of api/, or use Export (API).")
    # "value" is what a text node of ComfyUI holds.
    texts = [
        (node["inputs"], name)
        for node in graph.values()
        for name in ("prompt", "value")
        if isinstance(node["inputs"].get(name), str)
    ]
    if prompt and not texts:
        raise SystemExit(f"{file} has no prompt to replace. Leave --prompt out.")
    for inputs, name in texts if prompt else ():
        inputs[name] = prompt
    return graph


def refusal(answer: dict, graph: dict) -> str:
    """Which nodes cannot run, and why."""
    lines = [answer["error"]["message"]]
    for node, found in answer["node_errors"].items():
        title = graph[node].get("_meta", {}).get("title", found["class_type"])
        lines += [f"{title}: {said}" for said in dict.fromkeys(map(sentence, found["errors"]))]
    return "\n".join(lines)


def sentence(error: dict) -> str:
    """What is wrong. ComfyUI repeats a node's own sentence for each input, behind its name."""
    if error["type"] == "custom_validation_failed":
        return error["details"].partition(" - ")[2]
    return error["details"] or error["message"]


def save(server: str, done: dict, out: Path) -> None:
    """Every picture and text; those of a loop's rounds have the loop as `display_node`."""
    out.mkdir(parents=True, exist_ok=True)
    for node, output in sorted(done["outputs"].items()):
        for image in output.get("images", []):
            place = done["meta"][node]["display_node"].replace(":", ".")  # of a subgraph: "3:7"
            file = out / f"{place}_{image['filename']}"
            file.write_bytes(urlopen(f"http://{server}/view?{urlencode(image)}").read())
            print(file)
        print("\n".join(output.get("text", []) + output.get("report", [])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path, help="a workflow in API format")
    parser.add_argument("--prompt", help="what to paint, instead of what the workflow says")
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    parser.add_argument("--server", default="127.0.0.1:8188")
    given = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a pipe on Windows knows few letters
    save(given.server, run(given.server, read_graph(given.graph, given.prompt)), given.out)
