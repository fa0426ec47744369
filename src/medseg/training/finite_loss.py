"""Stops a training whose loss is not a number, and says which cases were in the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from medseg.errors import UserError
from medseg.training.module import SegmentationModule

EVERY_ON_GPU = 20
"""Reading a number back from a GPU makes it wait; there the loss is looked at once in so many batches."""


class FiniteLoss(L.Callback):
    """Looks at every loss on a CPU, at every twentieth on a GPU."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raises `UserError` with the cases of the batch."""
        assert isinstance(pl_module, SegmentationModule)
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        if loss.is_cuda and batch_idx % EVERY_ON_GPU:
            return
        if not torch.isfinite(loss):
            raise UserError(
                f"step {trainer.global_step}",
                f"the loss is {float(loss)} on cases {', '.join(pl_module.cases)}",
                "look at these cases with `medseg check`, or lower optimizer.lr",
            )
