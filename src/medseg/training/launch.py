"""Starts the processes of a training on this machine, watches them, and ends them all when one has ended.

Nothing heavy is imported here: each process first learns its rank, then imports the rest.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from medseg.errors import Problems
from medseg.targets import admitted, allow
from medseg.training.tether import GRACE, Fault, Hub

if TYPE_CHECKING:
    from medseg.training.recipe import Recipe

TETHER = "MEDSEG_TETHER"
"""The variable that tells a process where the hub is."""
_FORWARDED = ("SIGTERM", "SIGUSR1", "SIGUSR2")


def run_ranks(recipe: Recipe, count: int) -> None:
    """Trains in ``count`` processes; returns when all of them are through.

    Raises:
        Problems: one of them failed or died; all others are ended by then.
        KeyboardInterrupt: likewise.
    """
    hub = Hub()
    shared = _shared_environment(hub, count)
    processes: list[BaseProcess] = []
    try:
        with _interrupts_ignored():  # the processes inherit it: this one alone decides
            for rank in range(count):
                own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                arguments = (recipe, own, tuple(admitted()))
                context = multiprocessing.get_context("spawn")
                processes.append(context.Process(target=_one_rank, args=arguments, name=f"rank-{rank}"))
                processes[-1].start()
        with _forwarded(processes):
            _watch(processes, hub)
        fault = _fault(processes, hub)
    finally:
        _end(processes)
        hub.close()
    if fault is not None:
        raise Problems(fault.line().splitlines())


def _shared_environment(hub: Hub, count: int) -> dict[str, str]:
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        TETHER: hub.address(),
    }
    # Gloo would look for the machine by its name, which not every machine can find.
    return found if loopback is None else {"GLOO_SOCKET_IFNAME": loopback} | found


def _one_rank(recipe: Recipe, environment: dict[str, str], packages: tuple[str, ...]) -> None:
    """What each process does."""
    os.environ.update(environment)
    for package in packages:
        allow(package)
    from medseg.errors import UserError
    from medseg.training.train import train_rank

    code = 2
    try:
        train_rank(recipe)
        code = 0
    except UserError:
        pass  # the process that started this one tells it
    except Exception:  # noqa: BLE001
        import traceback

        traceback.print_exc()
    # A group that has lost a member may hang when it is taken down; all files are whole at any moment.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch(processes: list[BaseProcess], hub: Hub) -> None:
    """Until all have ended, or `GRACE` after the first has ended badly."""
    deadline = None
    while any(process.exitcode is None for process in processes):
        wait([process.sentinel for process in processes if process.exitcode is None], timeout=0.2)
        failed = hub.fault is not None or any(process.exitcode for process in processes)
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            return


def _fault(processes: list[BaseProcess], hub: Hub) -> Fault | None:
    """What the hub was told; a process that died before it could connect is known by its exit code."""
    codes = {rank: process.exitcode for rank, process in enumerate(processes) if process.exitcode}
    fault = hub.fault
    if fault is None:
        if not codes:
            return None
        fault = Fault(min(codes), "has ended")
    code = codes.get(fault.rank)
    if fault.said or code is None or code >= 0:
        return fault
    name = signal.Signals(-code).name if -code in {*signal.Signals} else str(-code)
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return Fault(fault.rank, f"was ended by {name}{hint}", fault.doing)


def _end(processes: list[BaseProcess]) -> None:
    for end in (BaseProcess.terminate, BaseProcess.kill):
        for process in processes:
            if process.exitcode is None:
                end(process)
        deadline = time.monotonic() + 5
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _forwarded(processes: list[BaseProcess]) -> Iterator[None]:
    """Signals of a scheduler go on to the processes, which know what to do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def forward(number: int, frame: Any) -> None:
        for process in processes:
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, number)

    numbers = [getattr(signal, name) for name in _FORWARDED if hasattr(signal, name)]
    before = {number: signal.signal(number, forward) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
