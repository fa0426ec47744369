"""What a patch queue is asked for, and what the data module asks it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from medseg.contracts import Batch


@dataclass(frozen=True)
class Part:
    """The batches of one rank, from ``first`` of an epoch up to but without ``last``.

    Sample numbers count over all ranks: batch b of rank r holds the numbers
    ``(b * batch_size + k) * world + r``, so the ranks together cover every number once, and the ranks'
    batches b cover the same numbers however many ranks share one global batch size.

    Attributes:
        epoch: of the first batch.
        first: the number of the first batch.
        last: batches per epoch.
        batch_size: samples per batch.
        rank: whose batches.
        world: how many ranks there are.
        endless: whether the next epochs follow, whole, so that their first batches can be prepared while
            the consumer is busy between two epochs. A queue whose batches end with the epoch all the same
            is asked anew when the next one is wanted.
    """

    epoch: int
    first: int
    last: int
    batch_size: int
    rank: int = 0
    world: int = 1
    endless: bool = False

    def places(self) -> Iterator[tuple[int, int]]:
        """The epoch and number of each batch, in order."""
        for batch in range(self.first, self.last):
            yield self.epoch, batch
        if self.endless and self.last > 0:
            for epoch in count(self.epoch + 1):
                for batch in range(self.last):
                    yield epoch, batch

    def numbers(self, batch: int) -> list[int]:
        """The samples of one batch, within its epoch."""
        return [(batch * self.batch_size + k) * self.world + self.rank for k in range(self.batch_size)]


@dataclass(frozen=True)
class Crew:
    """Who makes the patches.

    Attributes:
        workers: how many, 0 for the consumer itself.
        threads: the pool of that many threads, ``None`` for 0 workers.
        pin: whether batches lie in page-locked memory.
    """

    workers: int = 0
    threads: Executor | None = None
    pin: bool = False


class PatchSource(Protocol):
    """A patch queue, as the data module sees it.

    The constructor takes ``store, ids, plan, augmentation, seed, labelled`` and then its own options,
    which are the keys of its file under ``conf/queue/``.
    """

    labelled: bool

    def batches(self, part: Part, crew: Crew) -> Iterator[Batch]:
        """The batches of ``part.places()``, in order; or those of its first epoch alone."""
