"""How fast queues make patches: the measurement behind ``medseg bench data``."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import TracebackType

import psutil

from medseg.patches.interface import Crew, Part, PatchSource

FEWEST = 4
"""Batches measured at least."""


@dataclass(frozen=True)
class Streams:
    """What is asked for patches: stream -> queue, stream -> samples per batch."""

    queues: Mapping[str, PatchSource]
    batch_sizes: Mapping[str, int]
    pin: bool = False

    @property
    def batch(self) -> int:
        """Patches in one batch of all streams."""
        return sum(self.batch_sizes[name] for name in self.queues)

    @property
    def fewest(self) -> int:
        """Batches below which a rate says nothing: TorchIO's queue fills itself before it gives any."""
        held = sum(getattr(queue, "length", 0) for queue in self.queues.values())
        return max(FEWEST, math.ceil(2 * held / self.batch))


@dataclass(frozen=True)
class Speed:
    """One measurement.

    Attributes:
        workers: threads (processes for TorchIO's queue) that made the patches; 0 the consumer itself.
        patches: how many were made.
        seconds: until the last batch was there.
        cpu_seconds: of all threads and processes.
        first_batch: seconds until the first batch was there.
        memory_mb: most that this process and its children held at once, files mapped into it left out.
    """

    workers: int
    patches: int
    seconds: float
    cpu_seconds: float
    first_batch: float
    memory_mb: float

    @property
    def per_second(self) -> float:
        """Patches per second."""
        return self.patches / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Patches per second of one core at work."""
        return self.patches / self.cpu_seconds if self.cpu_seconds else math.inf


def measure(streams: Streams, workers: int, batches: int, epoch: int) -> Speed:
    """Makes the first ``batches`` batches of an epoch and nothing else."""
    cpu, begun, first = _cpu_seconds(), time.perf_counter(), 0.0
    with PeakMemory() as memory, ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(workers)) if workers else None
        crew = Crew(workers, threads, streams.pin)
        given = [
            stack.enter_context(closing(queue.batches(part, crew)))  # type: ignore[type-var]
            for name, queue in streams.queues.items()
            for part in [Part(epoch, 0, batches, streams.batch_sizes[name])]
        ]
        for number in range(batches):
            for stream in given:
                next(stream)
            if number == 0:
                first = time.perf_counter() - begun
        seconds = time.perf_counter() - begun
    made = batches * streams.batch
    return Speed(workers, made, seconds, _cpu_seconds() - cpu, first, memory.peak / 1e6)


def measure_for(streams: Streams, workers: int, seconds: float, epoch: int) -> Speed:
    """As `measure`, with as many batches as take about so many seconds."""
    batches = streams.fewest
    while True:
        speed = measure(streams, workers, batches, epoch)
        if speed.seconds >= 0.7 * seconds:
            return speed
        batches = math.ceil(batches * min(8.0, max(1.5, seconds / speed.seconds)))


class PeakMemory:
    """While inside, looks 50 times a second at the memory of this process and its children.

    Attributes:
        peak: bytes; pages of mapped files are not counted, the system may take them back at any time.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self.peak = _held()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, _held())


def _held() -> int:
    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            found = process.memory_info()
        except psutil.NoSuchProcess:
            continue
        total += found.rss - getattr(found, "shared", 0)
    return total


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system
