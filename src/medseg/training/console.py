"""What a person sees while a training runs."""

from __future__ import annotations

import logging
import time
import warnings

import lightning as L
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def open_console(leads: bool = True) -> Console:
    """Standard output; a log file gets lines wide enough for the tables. Silent but on rank zero."""
    if not leads:
        return Console(quiet=True)
    console = Console()
    return console if console.is_terminal else Console(width=110)


def quieten() -> None:
    """Leaves out what the libraries say at every start and nobody can act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("wandb").setLevel(logging.ERROR)
    for message in (
        ".*isinstance.treespec, LeafSpec.*",
        ".*smaller than the logging interval.*",
        ".*anonymous setting.*",
        ".*`srun` command is available.*",
        "Grad strides do not match bucket view strides.*",  # of 1x1 convolutions, where channels come last
        ".*sync_dist=True.*",  # what is logged without is the same on every rank already
        ".*in eval mode at the start of training.*",  # teachers and frozen stages are
    ):
        warnings.filterwarnings("ignore", message=message)


class ConsoleProgress(L.Callback):
    """One bar over the whole training in a terminal; one line per epoch in a log file.

    Args:
        console: where to write.
        total_steps: optimizer steps of the whole training.
    """

    def __init__(self, console: Console, total_steps: int) -> None:
        self.console, self.total_steps = console, total_steps
        self._bar: Progress | None = None
        self._start = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the bar at the step that a resumed training starts from."""
        self._start = time.monotonic()
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self.console,
        )
        self._bar.start()
        self._bar.add_task("", total=self.total_steps, completed=trainer.global_step, numbers="")

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tells the numbers of the epoch."""
        if not trainer.is_global_zero:
            return
        numbers = "  ".join(
            f"{name} {float(value):.3f}"
            for name, value in sorted(trainer.callback_metrics.items())
            if name in ("train/loss", "validation/dice", "validation_volume/dice")
        )
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], numbers=numbers)
        else:
            minutes = (time.monotonic() - self._start) / 60
            line = f"step {trainer.global_step}/{self.total_steps}  {minutes:.1f} min  {numbers}"
            self.console.print(line, soft_wrap=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves the terminal in order."""
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leaves the terminal in order also when the training breaks."""
        self._close()
