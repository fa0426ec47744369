"""Signals of a scheduler: the step ends, a checkpoint is written, and the run says how it goes on.

SIGUSR1, SIGUSR2 and SIGTERM only ask. While nothing is being trained, all that is written is whole at any
moment, so work ends at once; a second signal that is SIGTERM ends it at once in any case.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
import torch
import torch.distributed as dist

from medseg.errors import UserError
from medseg.training.epoch_means import EpochMeans
from medseg.training.run_folder import RunFolder

ASKING = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2", "SIGTERM") if hasattr(signal, name))


class Stopped(UserError):
    """A run that was asked to stop and can go on; no fault of anybody's."""

    code = 75
    """The exit code that mail systems use for "try again later"."""


class Interrupt(BaseException):
    """Raised where a signal arrives; no ``except Exception`` on the way may take it for a bad case."""


class _Requests:
    """What was asked of this process."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.patient = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        again = self.asked is not None and number == signal.SIGTERM
        if self.asked is None:
            self.asked = signal.Signals(number)
        if again or not self.patient:
            raise Interrupt(self.asked.name)

    def listen(self) -> dict[signal.Signals, Any]:
        """Takes the signals over; the handlers before, none where this is not the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self.handle) for number in ASKING}


_requests: _Requests | None = None


@contextmanager
def stoppable() -> Iterator[None]:
    """While inside, the signals of `ASKING` stop what is done here instead of killing the process."""
    global _requests  # noqa: PLW0603 - signal handlers belong to the process, as this does
    outer, _requests = _requests, _Requests()
    before = _requests.listen()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        _requests = outer


class StopsBetweenSteps(L.Callback):
    """Ends a training after the step in which it was asked to, with a checkpoint; the last of all callbacks.

    Several ranks agree on the step. Where it is the last of an epoch, the epoch's own checkpoint is written.

    Args:
        run: the folder that the checkpoint goes to.
        steps: optimizer steps of the whole training.

    Raises:
        Stopped: from within the training.
    """

    def __init__(self, run: RunFolder, steps: int) -> None:
        self.run, self.steps = run, steps
        self.means = EpochMeans()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning has handlers of its own by now, which would end the process without a checkpoint."""
        if _requests is not None:
            _requests.listen()
            _requests.patient = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on nobody looks between steps."""
        if _requests is not None:
            _requests.patient = False
            if _requests.asked is not None:
                raise Interrupt(_requests.asked.name)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stops after whole optimizer steps alone."""
        self.means.complete(trainer)
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        last = batch_idx + 1 >= trainer.num_training_batches or trainer.should_stop
        if whole and not last and self._asked(trainer):
            self.means.keep(trainer)
            trainer.save_checkpoint(self.run.checkpoints, weights_only=False)
            raise self._stopped(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The checkpoint of the epoch has been written just before."""
        if trainer.global_step < self.steps and not trainer.should_stop and self._asked(trainer):
            raise self._stopped(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The epoch so far."""
        return self.means.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with it."""
        self.means.state = dict(state_dict)

    def _asked(self, trainer: L.Trainer) -> bool:
        """Whether any rank was asked."""
        asked = _requests is not None and _requests.asked is not None
        if trainer.world_size == 1:
            return asked
        flag = torch.tensor(int(asked))  # on the CPU: gloo is there beside NCCL
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def _stopped(self, trainer: L.Trainer) -> Stopped:
        signals = _requests.asked.name if _requests is not None and _requests.asked is not None else "a rank"
        return stopped(self.run, f"stopped by {signals} after step {trainer.global_step} of {self.steps}")


def stopped(run: RunFolder, why: str) -> Stopped:
    """What is told of a run that goes on later."""
    return Stopped(str(run.path), why, "the same command goes on from there")
