"""The loader that Lightning iterates: streams side by side, its place in the epoch known and restorable."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from medseg.patches.interface import Crew, Part, PatchSource

if TYPE_CHECKING:
    from medseg.contracts import Batch


class PatchLoader:
    """``steps`` batches of every stream per epoch.

    Iterating it goes through one epoch and moves on to the next. `set_epoch` chooses another (Lightning
    calls it through ``sampler``). After `load_state_dict` the next iteration begins within the epoch, at
    the batch after the last one that was handed out; ``len`` stays the whole epoch's, as Lightning wants.

    With workers the first batches of the next epoch are made while the consumer validates or writes a
    checkpoint, as many as are made ahead within an epoch. Whatever then becomes of them, the stream is the
    same: those that are not asked for next are dropped.

    Args:
        queues: stream -> queue.
        batch_sizes: stream -> samples per batch on this rank.
        steps: batches per epoch.
        workers: threads that make patches; 0 makes them when they are asked for.
        rank: of this process.
        world: how many processes there are.
        pin: whether batches lie in page-locked memory.
        fixed: always epoch 0, for validation; then nothing is kept between two iterations.

    Attributes:
        waited_seconds: how long the consumer has waited for batches, since the start.
        batches_given: how many batches it was given, since the start.
    """

    batch_sampler = None  # Lightning looks at it wherever there is a `sampler`

    def __init__(
        self,
        queues: Mapping[str, PatchSource],
        batch_sizes: Mapping[str, int],
        steps: int,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
        fixed: bool = False,
    ) -> None:
        self.queues, self.batch_sizes, self.steps = dict(queues), dict(batch_sizes), steps
        self.workers, self.rank, self.world, self.pin, self.fixed = workers, rank, world, pin, fixed
        self.waited_seconds, self.batches_given = 0.0, 0
        self._epoch, self._first = 0, 0
        self._consumed = (0, 0)
        self._kept: _Belt | None = None

    def __len__(self) -> int:
        return self.steps

    @property
    def sampler(self) -> PatchLoader:
        """What has `set_epoch`, where Lightning looks for it."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Goes to the start of an epoch, unless this is the epoch that it is in."""
        if epoch != self._epoch and not self.fixed:
            self._epoch, self._first, self._consumed = epoch, 0, (epoch, 0)

    def state_dict(self) -> dict[str, int]:
        """The epoch and batch that come next; batches that are only prepared do not count."""
        epoch, batch = self._consumed
        return {"epoch": epoch + 1, "batch": 0} if batch >= self.steps else {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on where a loader was when it gave this state."""
        self._epoch, self._first = int(state["epoch"]), int(state["batch"])
        self._consumed = (self._epoch, self._first)

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        # Lightning makes iterators that it never uses: nothing happens before the first batch is asked for.
        epoch, first = self._epoch, self._first
        self._first = 0
        belt: _Belt | None = self._belt(epoch, first)
        try:
            for number in range(first, self.steps):
                assert belt is not None
                begun = time.perf_counter()
                batch = belt.take()
                self.waited_seconds += time.perf_counter() - begun
                self.batches_given += 1
                self._consumed = (epoch, number + 1)
                # Lightning leaves an iterator at its last batch: what comes after the loop may never run.
                if number + 1 == self.steps:
                    self._keep(belt)
                    belt = None
                yield batch
        finally:
            if belt is not None:
                belt.close()
        if self._epoch == epoch and not self.fixed:
            self._epoch = epoch + 1

    def close(self) -> None:
        """Drops what was prepared between two epochs and ends its threads; the loader can still be used."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    @property
    def _iterator(self) -> None:
        """Lightning sets this attribute of a loader to ``None`` when a fit has ended, however it ended."""

    @_iterator.setter
    def _iterator(self, nothing: None) -> None:
        self.close()

    def _belt(self, epoch: int, first: int) -> _Belt:
        """The batches from this one on: those that were prepared, if they are the right ones."""
        kept = self._kept
        if kept is not None and kept.place == (epoch, first):
            self._kept = None
            return kept
        self.close()
        return _Belt(self, epoch, first)

    def _keep(self, belt: _Belt) -> None:
        if self.fixed:
            belt.close()
        else:
            self.close()
            self._kept = belt


class _Belt:
    """The batches of all streams from one place on, and the threads that fill them ahead.

    It knows nothing of the loader it is for, so that a loader that is forgotten ends its threads.
    """

    def __init__(self, loader: PatchLoader, epoch: int, first: int) -> None:
        self.place = (epoch, first)
        self._queues, self._sizes, self._steps = loader.queues, loader.batch_sizes, loader.steps
        self._rank, self._world, self._endless = loader.rank, loader.world, not loader.fixed
        self._threads = None
        if loader.workers:
            self._threads = ThreadPoolExecutor(loader.workers, thread_name_prefix="patches")
        self._crew = Crew(loader.workers, self._threads, loader.pin)
        self._streams = {name: self._open(name) for name in self._queues}

    def take(self) -> dict[str, Batch]:
        """The next batch of every stream."""
        batch = {name: self._next(name) for name in self._queues}
        epoch, number = self.place
        self.place = (epoch, number + 1) if number + 1 < self._steps else (epoch + 1, 0)
        return batch

    def close(self) -> None:
        """Ends the threads; those at work finish the patch they are at."""
        for stream in self._streams.values():
            if isinstance(stream, Generator):
                stream.close()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _next(self, name: str) -> Batch:
        batch = next(self._streams[name], None)
        if batch is None:  # the queue's batches ended with the epoch
            self._streams[name] = self._open(name)
            batch = next(self._streams[name])
        return batch

    def _open(self, name: str) -> Iterator[Batch]:
        epoch, first = self.place
        size = self._sizes[name]
        part = Part(epoch, first, self._steps, size, self._rank, self._world, self._endless)
        return self._queues[name].batches(part, self._crew)
