"""Checkpoints that are whole or not there, two generations of them, each proven by its SHA-256.

A checkpoint's name holds its step and the hash of its bytes, ``00000150-<sha256>.ckpt``, so one rename
publishes both and no second file can disagree with it.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import CheckpointIO

from medseg.errors import UserError
from medseg.files import file_hash, publish, scratch_path

NAME = re.compile(r"(\d{8})-([0-9a-f]{64})\.ckpt")
KEPT = 2


class AtomicCheckpointIO(CheckpointIO):
    """Writes into a folder: temporary file beside the target, fsync, rename, fsync of the folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Publishes a checkpoint in the folder ``path`` and drops the oldest beyond two."""
        folder = Path(path)
        temporary = scratch_path(folder, ".ckpt")
        try:
            torch.save(checkpoint, temporary)
            name = f"{int(checkpoint['global_step']):08d}-{file_hash(temporary)}.ckpt"
            publish(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)
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
    """Saves after every training epoch and once more where training is stopped early."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called last of all callbacks, so that the others' state is in it."""
        trainer.save_checkpoint(self.folder, weights_only=False)
