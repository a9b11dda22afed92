"""Addresses of the pack on ComfyUI's server: to end a search early, and to see and clear what it
keeps.

POST /reflectionflow/stop ends the search under way after its present picture. GET
/reflectionflow/kept lists the searches that are kept in memory and the runs that are saved; DELETE
/reflectionflow/kept clears the memory. ComfyUI's "Free model and node cache" clears it too.
"""

from __future__ import annotations

from pathlib import Path

import folder_paths
from aiohttp import web
from server import PromptServer

from .shared.kept import ROUNDS
from .shared.rounds import RUNS
from .shared.stopping import STOPPING

FREE = ("/free", "/api/free")


def add_routes(server: PromptServer) -> None:
    """To be called once, before the server listens."""
    routes = server.routes
    routes.post("/reflectionflow/stop")(stop)
    routes.get("/reflectionflow/kept")(kept)
    routes.delete("/reflectionflow/kept")(forget)
    server.app.on_response_prepare.append(forget_when_freed)


async def stop(_: web.Request) -> web.Response:
    return web.json_response({"stopping": STOPPING.request()})


async def kept(_: web.Request) -> web.Response:
    return web.json_response({"searches": ROUNDS.listed(), "runs": saved_runs()})


async def forget(_: web.Request) -> web.Response:
    ROUNDS.forget()
    return web.json_response({"searches": []})


async def forget_when_freed(request: web.Request, _: web.StreamResponse) -> None:
    if request.method != "POST" or request.path not in FREE:
        return
    if (await request.json()).get("free_memory"):  # its body was read, and is kept
        ROUNDS.forget()


def saved_runs() -> list[str]:
    """Folders below ComfyUI's output directory."""
    output = Path(folder_paths.get_output_directory())
    return sorted(
        run.parent.relative_to(output).as_posix() for run in (output / RUNS).glob("*/run.json")
    )
