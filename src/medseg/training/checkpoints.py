"""Checkpoints that are whole or not there, two generations of them, each proven by its SHA-256.

A checkpoint's name holds its step and the hash of its bytes, ``00000150-<sha256>.ckpt``, so one rename
publishes both and no second file can disagree with it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import CheckpointIO

from medseg.errors import UserError
from medseg.files import file_hash, publish, scratch_file
from medseg.training.parallel import own_part

NAME = re.compile(r"(\d{8})-([0-9a-f]{64})\.ckpt")
KEPT = 2
Log = Callable[[Mapping[str, float], int], None]


class AtomicCheckpointIO(CheckpointIO):
    """Writes into a folder: temporary file beside the target, fsync, rename, fsync of the folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Publishes a checkpoint in the folder ``path`` and drops the oldest beyond two."""
        folder = Path(path)
        with scratch_file(folder, ".ckpt") as temporary:
            torch.save(checkpoint, temporary)
            name = f"{int(checkpoint['global_step']):08d}-{file_hash(temporary)}.ckpt"
            publish(temporary, folder / name)
        for stale in generations(folder)[KEPT:]:
            stale.unlink()

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads tensors and plain values only; never unpickles anything else, whatever is asked for."""
        loaded: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Removes one checkpoint file."""
        Path(path).unlink(missing_ok=True)


def generations(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first; other files are left out."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if NAME.fullmatch(path.name)), reverse=True)


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint whose bytes have the hash in its name, or ``None`` where there is none.

    A broken one is passed over with a warning that names it and what is used instead.

    Raises:
        UserError: there are checkpoints and all of them are broken.
    """
    candidates = generations(folder)
    for candidate in candidates:
        match = NAME.fullmatch(candidate.name)
        if match and file_hash(candidate) == match[2]:
            return candidate
        warnings.warn(
            f"{candidate}: broken (its hash is not that in its name); taking the one before", stacklevel=2
        )
    if candidates:
        raise UserError(str(folder), "no checkpoint is whole", "remove the folder to start anew")
    return None


class CheckpointEveryEpoch(L.Callback):
    """Saves after every training epoch; the last of all callbacks, so that the others' state is in it.

    Lightning logs the numbers of an epoch only after its checkpoint is written. So the checkpoint carries
    them, and a training that goes on from it writes those that a kill kept from the log.

    Args:
        folder: of the checkpoints.
        complete: writes numbers at a step unless they are there. (Lightning sets a callback's ``log``.)
        looks: the epochs after which whole volumes are validated, or a pretrained encoder is probed.
    """

    def __init__(self, folder: Path, complete: Log, looks: Collection[int]) -> None:
        self.folder, self.complete, self.looks = folder, complete, frozenset(looks)
        self._last: dict[str, Any] = {}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves; weights that are no numbers are refused, so that the one before stays whole."""
        if not all(bool(torch.isfinite(own_part(weight)).all()) for weight in pl_module.parameters()):
            where = f"step {trainer.global_step}"
            raise UserError(where, "a weight of the network is not finite", "lower optimizer.lr")
        looked = ("validation_volume/", "probe/") if trainer.current_epoch in self.looks else ()
        kinds = ("train/", *looked)
        numbers = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(kinds)}
        numbers["epoch"] = float(trainer.current_epoch)
        self._last = {"step": trainer.global_step - 1, "numbers": numbers}
        trainer.save_checkpoint(self.folder, weights_only=False)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Completes the log of the epoch that training goes on from."""
        if self._last:
            self.complete(self._last["numbers"], self._last["step"])

    def state_dict(self) -> dict[str, Any]:
        """The numbers of the last epoch."""
        return self._last

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them back."""
        self._last = state_dict


class LastStep(L.Callback):
    """Ends a training at its last step, within an epoch too.

    Lightning's own ``max_steps`` would run the end of an epoch a second time after a resume.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Called after every batch."""
        if trainer.global_step >= self.steps:
            trainer.should_stop = True
