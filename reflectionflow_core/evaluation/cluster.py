"""Workers as Ray actors, on one machine with several GPUs or on many machines."""

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
from ..search import UnjudgedError
from .work import Build, Item, Traced, Value, traced

LOCAL = "local"
PACKAGE = Path(__file__).parents[1]
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
QUEUED_PER_WORKER = 2  # items queued per actor, so that it is never idle
RESTARTS = 3  # restarts of an actor whose machine was lost
STORE_BYTES = 5 * 10**8  # of a local Ray; items are at most single pictures


class RayWorker:
    """An actor, built at its first item, so that errors of loading are returned as a result."""

    def __init__(self, build: Build[Any, Any]) -> None:
        self.build, self.work = build, None

    def __call__(self, item: Any) -> Traced[Any] | InputError | UnjudgedError:
        """The item's result, or a user error as a value: Ray would wrap a raised exception."""
        try:
            self.work = self.work or self.build()
            return traced(self.work, item)
        except (InputError, UnjudgedError) as error:
            return error

    answer = __call__  # called by name by Ray


def run_on_ray(
    items: Iterable[Item], build: Build[Item, Value], address: str, count: int | None
) -> Iterator[Traced[Value]]:
    """The result of each item, computed by `count` actors on the Ray cluster at `address`.

    See `WorkerPool` for a count of None and the address "local".
    """
    ray, waiting = _import_ray(), iter(items)
    first = list(islice(waiting, 1))
    if not first:
        return  # no need to connect
    waiting = chain(first, waiting)
    with _session(ray, address, count):
        options = _resources_per_worker(ray)
        actor = ray.remote(max_restarts=RESTARTS, max_task_retries=RESTARTS, **options)(RayWorker)
        workers = [actor.remote(build) for _ in range(_worker_count(ray, address, count, options))]
        running = {
            worker.answer.remote(item): worker
            for _ in range(QUEUED_PER_WORKER)
            for worker, item in zip(workers, islice(waiting, len(workers)), strict=False)
        }
        while running:
            (finished,), _ = ray.wait(list(running))
            worker = running.pop(finished)
            running |= {worker.answer.remote(item): worker for item in islice(waiting, 1)}
            yield _result(ray, finished)


def _result(ray: Any, finished: Any) -> Traced[Any]:
    try:
        answer = ray.get(finished)
    except (ray.exceptions.ActorDiedError, ray.exceptions.ActorUnavailableError) as error:
        raise InputError(
            "A worker of the Ray cluster was lost too often. See the cluster's log, then repeat "
            "the command to continue."
        ) from error
    if isinstance(answer, InputError | UnjudgedError):
        raise answer
    return answer


def _import_ray() -> Any:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's internal warnings
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs Ray. Install it with: pip install ray") from error
    return ray


@contextmanager
def _session(ray: Any, address: str, count: int | None) -> Iterator[None]:
    if address == LOCAL:
        cpus = max(count or 0, os.cpu_count() or 1)
        with starting_ray():
            ray.init(
                num_cpus=cpus, include_dashboard=False, object_store_memory=STORE_BYTES, **QUIET
            )
    else:
        join_ray(address, [PACKAGE], "--ray local")
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def starting_ray() -> Iterator[None]:
    """A context that explains errors of Ray when it cannot start; they have no common type."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"Ray did not start on this machine ({error}). Close programs that keep this machine "
            "busy and try again, or start it with `ray start --head` and give its address."
        ) from error


def join_ray(address: str, modules: Iterable[Path], otherwise: str) -> None:
    """Connects to the Ray cluster at `address` and sends it the `modules`.

    InputError if it cannot be reached; `otherwise` is the advice if there is no cluster.
    """
    import ray

    try:
        _check_reachable(address)
        ray.init(address=address, runtime_env={"py_modules": list(map(str, modules))}, **QUIET)
    except (OSError, ValueError) as error:
        raise InputError(
            f"No Ray cluster at {address} ({error}). Start one with `ray start --head` and give "
            f"the address it prints, or {otherwise}. If Ray asks for a token, set "
            "RAY_AUTH_MODE=token."
        ) from error


def _check_reachable(address: str) -> None:
    """Fails fast if nothing answers at the address; Ray would wait for minutes."""
    host, _, port = address.rpartition("/")[2].partition(":")
    if port.isdecimal():  # not "auto"
        socket.create_connection((host, int(port)), timeout=10).close()


def _resources_per_worker(ray: Any) -> dict[str, float]:
    """A GPU per actor if the cluster has GPUs, otherwise a CPU core."""
    return {"num_cpus": 1, "num_gpus": 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0}


def _worker_count(ray: Any, address: str, count: int | None, options: dict[str, float]) -> int:
    """The number of actors to start. InputError if there is no room: Ray would wait forever."""
    resources = ray.cluster_resources()
    kind = "GPU" if options["num_gpus"] else "CPU"
    most = int(min(resources.get("CPU", 0), resources.get(kind, 0)))
    wanted = count or most
    if not 0 < wanted <= most:
        raise InputError(
            f"{wanted} workers are asked for, and the Ray at {address} has room for {most} "
            f"(one {kind} each). Choose fewer with --processes, or let machines join it."
        )
    return wanted
