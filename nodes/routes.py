"""Addresses of the pack on ComfyUI's server: to end a search early, and to see and clear what it
keeps, and to answer a pause.

POST /reflectionflow/stop ends the search under way after its present picture. GET
/reflectionflow/kept lists the searches that are kept in memory and the runs that are saved; DELETE
/reflectionflow/kept clears the memory. ComfyUI's "Free model and node cache" clears it too.

POST /reflectionflow/pauses {"client": ...} sends the open pauses that this browser may answer to it
again. With the id of an open pause, which only such browsers know, GET /reflectionflow/pauses/ID/N
is its picture N as a PNG, and POST /reflectionflow/pauses/ID takes {"seen": true}, or an answer.

GET /reflectionflow/panel.js is the panel that shows a pause, and GET /reflectionflow/words/LANGUAGE
its texts in that language of the interface, an empty table where there are none.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import folder_paths
from aiohttp import web
from server import PromptServer

from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.report.pause import MOST_BYTES, PANEL, pause_picture
from .shared.kept import ROUNDS
from .shared.pauses import PAUSES, OpenPause, may_answer, show
from .shared.rounds import RUNS
from .shared.stopping import STOPPING

FREE = ("/free", "/api/free")
WORDS = Path(__file__).parent.parent / "locales" / "words.json"
NUMBER = re.compile("[0-9]{1,6}")
CLOSED = "This question is no longer open."


class Refused(Exception):  # noqa: N818  (what others send is no error of ours)
    """A request that gets an HTTP error status and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = web.json_response({"error": text}, status=status)


def add_routes(server: PromptServer) -> None:
    """Adds the routes; call it once, before the server listens."""
    routes = server.routes
    routes.post("/reflectionflow/stop")(stop)
    routes.get("/reflectionflow/kept")(kept)
    routes.delete("/reflectionflow/kept")(forget)
    routes.post("/reflectionflow/pauses")(pauses)
    routes.post("/reflectionflow/pauses/{id}")(answer)
    routes.get("/reflectionflow/pauses/{id}/{number}")(picture)
    routes.get("/reflectionflow/panel.js")(panel)
    routes.get("/reflectionflow/words/{language}")(words)
    server.app.on_response_prepare.append(forget_when_freed)


async def stop(_: web.Request) -> web.Response:
    return web.json_response({"stopping": STOPPING.request()})


async def kept(_: web.Request) -> web.Response:
    return web.json_response({"searches": ROUNDS.listed(), "runs": saved_runs()})


async def forget(_: web.Request) -> web.Response:
    ROUNDS.forget()
    return web.json_response({"searches": []})


async def pauses(request: web.Request) -> web.Response:
    """The pauses go through the browser's own connection: any program may claim to be a client."""
    try:
        client = (await body_of(request)).get("client")
    except Refused as refused:
        return refused.answer
    found = PAUSES.of(client) if isinstance(client, str) else []
    for one in found:
        show(one)
    return web.json_response({"open": len(found)})


async def answer(request: web.Request) -> web.Response:
    try:
        given = await body_of(request)
        asked = opened(request)
        client = given.pop("client", None)
        if not may_answer(str(client), asked):
            raise Refused(404, CLOSED)  # as if there were none
        if given == {"seen": True}:
            asked.seen = True
        else:
            asked.take(given)
    except Refused as refused:
        return refused.answer
    except InputError as error:
        return Refused(400, str(error)).answer
    return web.json_response({"taken": True})


async def picture(request: web.Request) -> web.Response:
    number = request.match_info["number"]
    try:
        asked = opened(request)
        found = pause_picture(asked.pause, int(number)) if NUMBER.fullmatch(number) else None
    except Refused as refused:
        return refused.answer
    if found is None:
        return Refused(404, "This question has no such picture.").answer
    return web.Response(body=found, content_type="image/png", headers={"Cache-Control": "no-store"})


async def panel(_: web.Request) -> web.Response:
    return web.Response(text=PANEL.read_text("utf-8"), content_type="text/javascript")


async def words(request: web.Request) -> web.Response:
    """Each text in a language ("zh-TW"), or else in its parent ("fr" for "fr-CA")."""
    language = request.match_info["language"]
    general = language.partition("-")[0]
    found = {
        text: row.get(language, row.get(general))
        for text, row in json.loads(WORDS.read_text("utf-8")).items()
    }
    return web.json_response({text: said for text, said in found.items() if said is not None})


def opened(request: web.Request) -> OpenPause:
    """The open pause that a request is about."""
    asked = PAUSES.find(request.match_info["id"])
    if asked is None:
        raise Refused(404, CLOSED)
    return asked


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request; nothing larger than MOST_BYTES is read."""
    data = b""
    while len(data) <= MOST_BYTES and (part := await request.content.readany()):
        data += part
    if len(data) > MOST_BYTES:
        raise Refused(413, "The answer is too large. Brush a simpler mask, or draw a box.")
    try:
        given = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The answer is not JSON.") from error
    if not isinstance(given, dict):
        raise Refused(400, "The answer is not a JSON object.")
    return given


async def forget_when_freed(request: web.Request, answer: web.StreamResponse) -> None:
    if request.method != "POST" or request.path not in FREE or answer.status != HTTPStatus.OK:
        return
    if (await request.json()).get("free_memory"):  # its body was read, and is kept
        ROUNDS.forget()


def saved_runs() -> list[str]:
    """Folders below ComfyUI's output directory."""
    output = Path(folder_paths.get_output_directory())
    return sorted(
        run.parent.relative_to(output).as_posix() for run in (output / RUNS).glob("*/run.json")
    )
