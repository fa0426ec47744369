"""The LightningDataModule: patch queues in, ``dict[str, Batch]`` out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from medseg.contracts import Batch
from medseg.errors import UserError
from medseg.patches.interface import PatchSource
from medseg.patches.loader import PatchLoader
from medseg.patches.on_device.augmenting import finished


class PatchDataModule(LightningDataModule):
    """Streams of patches for training, and a fixed set of patches for validation.

    Each rank draws its own share of every epoch's samples by itself: give Lightning's Trainer
    ``use_distributed_sampler=False``. Its state is the place in the stream, so a training that is resumed
    within an epoch goes on with the exact next batch. Queues that leave the augmentation to the device give
    regions; training and validation see finished batches all the same.

    Args:
        queues: stream (``"labelled"``, ``"unlabelled"``) -> queue.
        validation: the queue of the validation patches, without augmentation; ``None`` for none.
        batch_size: samples per batch on each rank, for all streams or per stream.
        steps_per_epoch: batches per epoch on each rank.
        workers: threads that make patches.
        validation_samples: validation patches over all ranks, rounded up to whole batches; they are the
            same in every epoch and run.

    Raises:
        UserError: a number that is not positive, a stream without a batch size.
    """

    def __init__(
        self,
        queues: Mapping[str, PatchSource],
        validation: PatchSource | None,
        batch_size: int | Mapping[str, int],
        steps_per_epoch: int,
        workers: int = 1,
        validation_samples: int = 16,
    ) -> None:
        super().__init__()
        sizes = dict.fromkeys(queues, batch_size) if isinstance(batch_size, int) else dict(batch_size)
        for name in queues:
            if sizes.get(name, 0) < 1:
                raise UserError("batch_size", f"stream {name} has none", "give a number above 0")
        if steps_per_epoch < 1 or workers < 0:
            raise UserError("steps_per_epoch, workers", "out of range", "give at least 1 step and 0 workers")
        self.queues, self.validation, self.batch_sizes = dict(queues), validation, sizes
        self.steps_per_epoch, self.workers, self.validation_samples = (
            steps_per_epoch,
            workers,
            validation_samples,
        )
        self.loader: PatchLoader | None = None
        self._state: dict[str, int] | None = None

    def train_dataloader(self) -> PatchLoader:
        """The streams side by side, each batch ``{stream: Batch}``."""
        self.loader = PatchLoader(
            self.queues, self.batch_sizes, self.steps_per_epoch, self.workers, **self._place()
        )
        if self._state is not None:
            self.loader.load_state_dict(self._state)
        return self.loader

    def val_dataloader(self) -> PatchLoader | list[Any]:
        """The validation patches, each batch ``{"labelled": Batch}``; an empty list where there are none."""
        if self.validation is None or self.validation_samples < 1:
            return []
        place = self._place()
        size = self.batch_sizes.get("labelled") or next(iter(self.batch_sizes.values()))
        steps = -(-self.validation_samples // (size * place["world"]))
        queues, sizes = {"labelled": self.validation}, {"labelled": size}
        return PatchLoader(queues, sizes, steps, self.workers, fixed=True, **place)

    def transfer_batch_to_device(
        self, batch: dict[str, Batch], device: torch.device, dataloader_idx: int
    ) -> dict[str, Batch]:
        """Sends a batch on its way without waiting for it (Lightning waits for all but plain tensors)."""
        return {name: part.to(device, non_blocking=device.type == "cuda") for name, part in batch.items()}

    def on_after_batch_transfer(self, batch: dict[str, Batch], dataloader_idx: int) -> dict[str, Batch]:
        """Augments what the loader left to the device."""
        return {name: finished(part) for name, part in batch.items()}

    def state_dict(self) -> dict[str, int]:
        """The epoch and batch that come next."""
        if self.loader is not None:
            return self.loader.state_dict()
        return self._state or {"epoch": 0, "batch": 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes on where the checkpoint was written."""
        self._state = dict(state_dict)
        if self.loader is not None:
            self.loader.load_state_dict(state_dict)

    def _place(self) -> dict[str, Any]:
        """Which rank this is, and whether a GPU waits."""
        trainer = self.trainer
        if trainer is None:
            return {"rank": 0, "world": 1, "pin": False}
        gpu = trainer.strategy.root_device.type == "cuda"
        return {"rank": trainer.global_rank, "world": trainer.world_size, "pin": gpu}
