"""A crew of Ray's actors: on one machine with several GPUs, or on many."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..record import InputError
from .work import Build, Done, Item, Value, traced

LOCAL = "local"
PACKAGE = Path(__file__).parents[1]
AHEAD = 2  # pieces that each actor has been given, so that it never waits for the next
RESTARTS = 3  # of an actor whose machine was lost
STORE = 5 * 10**8  # bytes of a Ray that is started here; items are pictures at most


class Worker:
    """An actor: loads with its first piece, so that what is wrong comes back as an answer."""

    def __init__(self, build: Build[Any, Any]) -> None:
        self.build, self.work = build, None

    def __call__(self, item: Any) -> Done[Any] | str:
        """What became of the item, or the sentences of a user's error."""
        try:
            self.work = self.work or self.build()
            return traced(self.work, item)
        except InputError as error:
            return str(error)

    answer = __call__  # Ray's actors are asked by name


def run_on_ray(
    items: Iterable[Item], build: Build[Item, Value], address: str, count: int | None
) -> Iterator[Done[Value]]:
    """What becomes of each item, by `count` actors of the Ray at an address.

    None is one for each GPU, or each core where there is none. The address "local" starts a Ray on
    this machine.
    """
    ray, waiting = _library(), iter(items)
    first = list(islice(waiting, 1))
    if not first:
        return  # no cluster is troubled
    waiting = chain(first, waiting)
    with _session(ray, address, count):
        options = _share(ray)
        actor = ray.remote(max_restarts=RESTARTS, max_task_retries=RESTARTS, **options)(Worker)
        workers = [actor.remote(build) for _ in range(_room(ray, address, count, options))]
        running = {
            worker.answer.remote(item): worker
            for _ in range(AHEAD)
            for worker, item in zip(workers, islice(waiting, len(workers)), strict=False)
        }
        while running:
            (finished,), _ = ray.wait(list(running))
            worker = running.pop(finished)
            running |= {worker.answer.remote(item): worker for item in islice(waiting, 1)}
            yield _answer(ray, finished)


def _answer(ray: Any, finished: Any) -> Done[Any]:
    try:
        answer = ray.get(finished)
    except (ray.exceptions.ActorDiedError, ray.exceptions.ActorUnavailableError) as error:
        raise InputError(
            "A worker of the Ray cluster was lost too often. Look into the cluster's log; the same "
            "command goes on with what is missing."
        ) from error
    if isinstance(answer, str):
        raise InputError(answer)
    return answer


def _library() -> Any:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # warnings about its own affairs
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "--ray needs Ray. Install it with: pip install 'reflectionflow[cluster]'"
        ) from error
    return ray


@contextmanager
def _session(ray: Any, address: str, count: int | None) -> Iterator[None]:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        cpus = max(count or 0, os.cpu_count() or 1)
        ray.init(num_cpus=cpus, include_dashboard=False, object_store_memory=STORE, **quiet)
    else:
        _join(ray, address, quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _join(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    try:
        _knock(address)
        # The other machines have no copy of this package.
        ray.init(address=address, runtime_env={"py_modules": [str(PACKAGE)]}, **quiet)
    except (OSError, ValueError) as error:
        raise InputError(
            f"There is no Ray at {address} ({error}). Start it with `ray start --head` and give "
            "the address that it names, or --ray local; where Ray asks for its token, set "
            "RAY_AUTH_MODE=token."
        ) from error


def _knock(address: str) -> None:
    """Ray itself would wait for minutes where nobody answers."""
    host, _, port = address.rpartition("/")[2].partition(":")
    if port.isdecimal():  # not "auto"
        socket.create_connection((host, int(port)), timeout=10).close()


def _share(ray: Any) -> dict[str, float]:
    """What each actor gets: a GPU where there are any, else a core."""
    return {"num_cpus": 1, "num_gpus": 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0}


def _room(ray: Any, address: str, count: int | None, options: dict[str, float]) -> int:
    """How many actors; Ray would wait for ever for room that there is not."""
    room = ray.cluster_resources()
    kind = "GPU" if options["num_gpus"] else "CPU"
    most = int(min(room.get("CPU", 0), room.get(kind, 0)))
    wanted = count or most
    if not 0 < wanted <= most:
        raise InputError(
            f"{wanted} workers are asked for, and the Ray at {address} has room for {most} "
            f"(one {kind} each). Choose fewer with --processes, or let machines join it."
        )
    return wanted
