"""The loader that Lightning iterates: streams side by side, its place in the epoch known and restorable."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from medseg.patches.interface import Crew, Part, PatchSource

if TYPE_CHECKING:
    from medseg.contracts import Batch


class PatchLoader:
    """``steps`` batches of every stream per epoch.

    Iterating it goes through one epoch and moves on to the next. `set_epoch` chooses another (Lightning
    calls it through ``sampler``). After `load_state_dict` the next iteration begins within the epoch, at
    the batch after the last one that was handed out; ``len`` stays the whole epoch's, as Lightning wants.

    Args:
        queues: stream -> queue.
        batch_sizes: stream -> samples per batch on this rank.
        steps: batches per epoch.
        workers: threads that make patches; 0 makes them when they are asked for.
        rank: of this process.
        world: how many processes there are.
        pin: whether batches lie in page-locked memory.
        fixed: always epoch 0, for validation.

    Attributes:
        waited_seconds: how long the consumer has waited for batches, since the start.
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
        self.waited_seconds = 0.0
        self._epoch, self._first = 0, 0
        self._consumed = (0, 0)

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
        """The epoch and batch that come next."""
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
        with ExitStack() as stack:
            streams = self._streams(epoch, first, stack)
            for number in range(first, self.steps):
                begun = time.perf_counter()
                batch = {name: next(stream) for name, stream in streams.items()}
                self.waited_seconds += time.perf_counter() - begun
                self._consumed = (epoch, number + 1)
                yield batch
        if self._epoch == epoch and not self.fixed:
            self._epoch = epoch + 1

    def _streams(self, epoch: int, first: int, stack: ExitStack) -> dict[str, Iterator[Batch]]:
        """An iterator per stream over one pool of threads; both end with ``stack``."""
        threads = None
        if self.workers:
            threads = ThreadPoolExecutor(self.workers, thread_name_prefix="patches")
            stack.callback(threads.shutdown, cancel_futures=True)
        crew = Crew(self.workers, threads, self.pin)
        streams = {}
        for name, queue in self.queues.items():
            part = Part(epoch, first, self.steps, self.batch_sizes[name], self.rank, self.world)
            streams[name] = stack.enter_context(closing(queue.batches(part, crew)))  # type: ignore[type-var]
        return streams
