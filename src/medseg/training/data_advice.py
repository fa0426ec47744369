"""Which knob to turn where a training waits for its data. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass

LITTLE = 0.02
"""The share of the time below which waiting is not worth a thought."""


@dataclass(frozen=True)
class Loading:
    """How the data of a training are made, and how long it waited for them.

    Attributes:
        share: of the training time spent waiting, 0 to 1; not a number where nothing was measured.
        workers: ``training.workers``.
        cores: that this process may use.
        gpu: whether the steps run on a GPU.
        augment_on: ``queue.augment_on``; ``None`` for a queue without that option.
        reading: seconds per patch spent reading, ``None`` where nobody measured it.
        augmenting: seconds per patch spent on spatial and intensity changes, likewise.
        movable: whether the configuration lets the augmentation run on the GPU.
    """

    share: float
    workers: int
    cores: int
    gpu: bool
    augment_on: str | None = None
    reading: float | None = None
    augmenting: float | None = None
    movable: bool = True

    @property
    def most_workers(self) -> int:
        """Beyond so many, workers only take the cores from each other and from the step."""
        if self.gpu:  # one core launches the GPU's work
            return max(1, self.cores - 1)
        return self.cores if self.cores > 1 else 0

    @property
    def workers_needed(self) -> int:
        """Workers that would make the data as fast as the steps use them, if each were as fast as now."""
        idle = min(self.share, 0.99)
        now = self.workers or idle  # without workers, waiting is making: so much of one is at work
        return max(self.workers + 1, math.ceil(now / (1 - idle) - 1e-9))


def advice(loading: Loading) -> str:
    """The line at the end of a training."""
    if math.isnan(loading.share):
        return "too few steps to tell how long the step waited for data"
    return f"the step waited {percent(loading.share)} of the time for data: {remedy(loading)}"


def remedy(loading: Loading) -> str:
    """What to change, by the names of the configuration's keys."""
    if not loading.share >= LITTLE:
        return "nothing to do"
    workers = min(loading.workers_needed, loading.most_workers)
    if workers <= loading.workers:
        return f"{_all(loading.cores)} in use; {_relief(loading)}"
    used = f"{loading.workers or 'none'} of {loading.cores} cores in use"
    change = f"raise training.workers from {loading.workers} to {workers} ({used})"
    enough = loading.workers_needed <= loading.most_workers
    return change if enough else f"{change} and {_relief(loading)}"


def _all(cores: int) -> str:
    return "the only core is" if cores == 1 else f"all {cores} cores are"


def _relief(loading: Loading) -> str:
    """What makes a patch cheaper, where there are no cores left to make more of them."""
    reading, augmenting = loading.reading, loading.augmenting
    if reading is not None and augmenting is not None and reading > augmenting:
        told = percent(reading / (reading + augmenting))
        return f"put data.cache on faster storage (reading is {told} of a patch's time)"
    if loading.augment_on is None:
        return "use queue=patch"
    if loading.augment_on == "device":  # the workers do nothing but read
        return "put data.cache on faster storage"
    if loading.gpu and loading.movable:
        return "set queue.augment_on=device"
    return "choose a cheaper augmentation, such as augmentation=light"


def percent(share: float) -> str:
    """``0.4 %``, ``23 %``."""
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
