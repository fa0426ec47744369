"""Each rank says what it is at, so that its death can be told with the cases of its batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L

from medseg.contracts import Batch
from medseg.training.group import Group


class TellsWhere(L.Callback):
    """Tells the other ranks, and whatever error comes, the step and the cases.

    Args:
        group: the ranks.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.doing = ""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before each batch."""
        self._tell(f"step {trainer.global_step + 1} on cases {named(batch)}")

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any
    ) -> None:
        """Before each batch."""
        self._tell(f"validation after step {trainer.global_step} on cases {named(batch)}")

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """A note, which `medseg.errors.explained` puts into its line."""
        if self.doing:
            exception.add_note(self.doing)

    def _tell(self, doing: str) -> None:
        self.doing = doing
        self.group.doing(doing)


def named(batch: Mapping[str, Batch]) -> str:
    """The cases of a batch, each once."""
    return ", ".join(dict.fromkeys(case for part in batch.values() for case in part.case))
