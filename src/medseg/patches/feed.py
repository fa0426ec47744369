"""Batches filled ahead of the consumer by threads, in order and in bounded memory.

Threads, not processes: the work is in compiled loops that release the GIL, so they run side by side
without copies of the interpreter, and nothing is sent between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from medseg.patches.interface import Crew

_Batch = TypeVar("_Batch")
Job = Callable[[], None]


def feed(planned: Iterable[tuple[_Batch, list[Job]]], crew: Crew, ahead: int) -> Iterator[_Batch]:
    """Yields each batch when the jobs that fill it are done.

    Args:
        planned: batches with their jobs; taken one by one, so at most ``ahead + 1`` are in memory.
        crew: who runs the jobs.
        ahead: how many batches are begun before the one that the consumer waits for.

    Raises:
        Exception: what a job raised, when its batch is due.
    """
    if crew.threads is None:
        for batch, jobs in planned:
            for job in jobs:
                job()
            yield batch
        return
    begun: deque[tuple[_Batch, list[Future[None]]]] = deque()
    try:
        for batch, jobs in planned:
            begun.append((batch, [crew.threads.submit(job) for job in jobs]))
            if len(begun) > ahead:
                yield _finished(begun)
        while begun:
            yield _finished(begun)
    finally:
        for _, futures in begun:
            for future in futures:
                future.cancel()


def _finished(begun: deque[tuple[_Batch, list[Future[None]]]]) -> _Batch:
    batch, futures = begun[0]
    for future in futures:
        future.result()
    begun.popleft()
    return batch
