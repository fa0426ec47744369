"""How much of the training time the step waited for data.

The clock runs from the start of an epoch to the end of its last step: validation, checkpoints and the
first batch of the process, which compiles the kernels and opens the files, are outside of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning as L
import torch

from medseg.patches.loader import PatchLoader

NAME = "train/data_wait"
"""Of the share, from 0 to 1, among the logged numbers. It is a timing: no two runs have the same."""


class Step(NamedTuple):
    """One step on the clock, in seconds.

    Attributes:
        host_end: when the training thread was through with it.
        device_end: when the device was; the same on a CPU.
        waited: how long the training thread waited in the loader before it.
    """

    host_end: float
    device_end: float
    waited: float


def waited_seconds(start: float, steps: Sequence[Step]) -> float:
    """How long nothing was computed because a batch was not there.

    A GPU works while the host waits: a wait counts from the moment at which the device had finished the
    step before, and not at all where the batch came earlier than that.

    Args:
        start: when the clock started, with an idle device.
        steps: in order.
    """
    total, host, device = 0.0, start, start
    for step in steps:
        batch_came = host + step.waited
        total += min(max(batch_came - device, 0.0), step.waited)
        host, device = step.host_end, step.device_end
    return total


class StepClock:
    """Takes the times of steps; on CUDA by events in the stream, which cost the device nothing.

    Args:
        device: where the steps run; it is synchronised when the clock starts and when it is read.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self._cuda = device, device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Forgets the steps so far and starts anew, now."""
        self._ends: list[tuple[float, Any, float]] = []
        self._synchronise()
        self._first = self._event()
        self.start = time.perf_counter()

    def step(self, waited: float) -> None:
        """Notes that a step has ended (on CUDA: that all its work has been launched)."""
        self._ends.append((time.perf_counter(), self._event(), waited))

    def steps(self) -> list[Step]:
        """All steps since the start."""
        self._synchronise()
        found, before, device = [], self._first, self.start
        for host, event, waited in self._ends:
            device = device + before.elapsed_time(event) / 1000 if self._cuda else host
            found.append(Step(host, device, waited))
            before = event
        return found

    def _event(self) -> Any:
        if not self._cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _synchronise(self) -> None:
        if self._cuda:
            torch.cuda.synchronize(self.device)


class DataWait(L.Callback):
    """Logs ``train/data_wait`` for every epoch and keeps the sums over the whole training, restarts included.

    Attributes:
        waited: seconds in which the step waited for data.
        clocked: seconds on the clock.
        first_batch: seconds until this process had its first batch.
    """

    def __init__(self) -> None:
        self.waited, self.clocked, self.first_batch = 0.0, 0.0, math.nan
        self._clock: StepClock | None = None
        self._seen = 0.0

    @property
    def share(self) -> float:
        """Of the time on the clock, 0 to 1; not a number before anything was measured."""
        return self.waited / self.clocked if self.clocked else math.nan

    def facts(self) -> dict[str, float | None]:
        """The measured numbers for the record."""
        found = {
            "share": self.share,
            "seconds": self.waited,
            "of_seconds": self.clocked,
            "first_batch_seconds": self.first_batch,
        }
        return {name: None if math.isnan(value) else round(value, 4) for name, value in found.items()}

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock, but not before the first batch of the process."""
        if self._clock is not None:
            self._clock.restart()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Notes the step and what it waited."""
        waited = _loader(trainer).waited_seconds
        if self._clock is None:
            self._clock, self.first_batch = StepClock(pl_module.device), waited
        else:
            self._clock.step(waited - self._seen)
        self._seen = waited

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs the share of the epoch; not a number where its only batch was the first of the process."""
        steps = self._clock.steps() if self._clock is not None else []
        share = math.nan
        if self._clock is not None and steps:
            waited, clocked = (
                waited_seconds(self._clock.start, steps),
                steps[-1].device_end - self._clock.start,
            )
            self.waited, self.clocked = self.waited + waited, self.clocked + clocked
            share = waited / clocked
        pl_module.log(NAME, share, rank_zero_only=True)

    def state_dict(self) -> dict[str, float]:
        """The sums, so that a resumed training goes on adding."""
        return {"waited": self.waited, "clocked": self.clocked, "first_batch": self.first_batch}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Takes them back."""
        self.waited, self.clocked = state_dict["waited"], state_dict["clocked"]
        self.first_batch = state_dict["first_batch"]


def _loader(trainer: L.Trainer) -> PatchLoader:
    loader = trainer.train_dataloader
    assert isinstance(loader, PatchLoader)
    return loader
