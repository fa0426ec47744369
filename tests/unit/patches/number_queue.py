"""A queue without a store, for what a loader does with any queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch

from medseg.contracts import Batch
from medseg.patches.feed import feed
from medseg.patches.interface import Crew, Part
from medseg.patches.loader import PatchLoader
from medseg.patches.sample import empty_batch

STEPS, SIZE, AHEAD = 5, 2, 3


class Numbers:
    """A queue of empty patches that remembers which it made; ``whole`` ends with the epoch."""

    labelled = False

    def __init__(self, whole: bool = False) -> None:
        self.whole, self.made, self.lock = whole, list[tuple[int, int]](), threading.Lock()

    def batches(self, part: Part, crew: Crew) -> Iterator[Batch]:
        return feed(self._planned(part), crew, AHEAD)

    def _planned(self, part: Part) -> Iterator[tuple[Batch, list[Callable[[], None]]]]:
        for epoch, b in islice(part.places(), part.last - part.first if self.whole else None):
            batch = empty_batch(part.batch_size, 1, (2, 2, 2), False)
            yield batch, [partial(self._fill, batch, k, epoch, n) for k, n in enumerate(part.numbers(b))]

    def _fill(self, batch: Batch, place: int, epoch: int, number: int) -> None:
        batch.index[place] = torch.tensor([epoch, number])
        with self.lock:
            self.made.append((epoch, number))


def given(batch: dict[str, Batch]) -> list[tuple[int, int]]:
    return [(epoch, number) for epoch, number in batch["numbers"].index.tolist()]


def expected(epoch: int, first: int = 0) -> list[tuple[int, int]]:
    return [(epoch, number) for number in range(first * SIZE, STEPS * SIZE)]


def through(loader: PatchLoader) -> list[tuple[int, int]]:
    return [sample for batch in loader for sample in given(batch)]


def a_loader(queue: Any, **options: Any) -> PatchLoader:
    return PatchLoader({"numbers": queue}, {"numbers": SIZE}, STEPS, **({"workers": 2} | options))


def threads() -> int:
    return sum(thread.name.startswith("patches") for thread in threading.enumerate())


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.001)
