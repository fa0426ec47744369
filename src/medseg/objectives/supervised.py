"""Learning from labelled cases alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Progress
from medseg.errors import UserError
from medseg.losses.deep_supervision import DeepSupervision


class Supervised(nn.Module):
    """The loss of the network's logits against the label.

    Args:
        loss: of logits against a label.
        deep_supervision: also at the coarser levels of the decoder, for networks that have them.
        decay: how much each coarser level weighs against the finer one.
    """

    STREAMS: ClassVar[tuple[str, ...]] = ("labelled",)
    DEEP_SUPERVISION: ClassVar[bool] = True

    def __init__(self, loss: Loss, *, deep_supervision: bool = True, decay: float = 0.5) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.loss = DeepSupervision(loss, decay=decay)

    def attach(self, network: nn.Module) -> None:
        """Needs nothing beside the network."""

    def step(self, network: nn.Module, streams: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``loss`` to minimise; with several levels also ``loss_finest``, that of the full resolution.

        Of a compound loss also its terms at the full resolution, see `DeepSupervision`.

        Raises:
            UserError: if the labelled stream carries no label.
        """
        batch = streams["labelled"]
        if batch.label is None:
            raise UserError("objective", "the labelled stream has a batch without a label", "check the split")
        logits: tuple[Tensor, ...] = network(batch.image, batch.present)
        if not self.deep_supervision:
            logits = logits[:1]
        terms = self.loss.levels(logits, batch.label)
        found = {**self.loss.terms, "loss": self.loss.combine(terms)}
        if len(terms) > 1:
            found["loss_finest"] = terms[0].detach()
        return found

    def after_step(self, network: nn.Module, progress: Progress) -> None:
        """Keeps nothing between steps."""
