"""Deep supervision (Lee 2015): the same loss at every level of the decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.contracts import Loss
from medseg.errors import UserError
from medseg.losses.compound import Compound
from medseg.losses.distance import DistanceTerm


class DeepSupervision(nn.Module):
    """The weighted mean of a loss over levels; each level weighs ``decay`` times the finer one.

    Args:
        loss: of one level.
        decay: above 0 and at most 1; nnU-Net halves.

    Attributes:
        terms: of a compound loss, what its terms were at the finest level, for the log: ``loss_NAME``
            unweighted, and ``weight_NAME``.
    """

    def __init__(self, loss: Loss, *, decay: float = 0.5) -> None:
        super().__init__()
        if not 0 < decay <= 1:
            raise UserError("objective.decay", f"{decay} is outside (0, 1]", "give for example 0.5")
        self.loss = loss
        self.decay = decay
        self.terms: dict[str, Tensor] = {}

    def forward(self, logits: Sequence[Tensor], label: Tensor) -> Tensor:
        """Logits per level, finest first, and ``(B, 1, *S)`` codes -> a scalar."""
        return self.combine(self.levels(logits, label))

    def levels(self, logits: Sequence[Tensor], label: Tensor) -> list[Tensor]:
        """The loss of each level, unweighted."""
        found = []
        for each in logits:
            strides = [n / m for n, m in zip(label.shape[2:], each.shape[2:], strict=True)]
            for part in self.loss.modules():  # type: ignore[attr-defined]
                if isinstance(part, DistanceTerm):
                    part.at_level(strides)
            found.append(self.loss(each, shrink_label(label, each.shape[2:])))
            if len(found) == 1:
                self.terms = self.loss.to_log() if isinstance(self.loss, Compound) else {}
        return found

    def combine(self, terms: Sequence[Tensor]) -> Tensor:
        """The weighted mean of what `levels` gave."""
        weights = [self.decay**i for i in range(len(terms))]
        return torch.stack([t * (w / sum(weights)) for t, w in zip(terms, weights, strict=True)]).sum()


def shrink_label(label: Tensor, size: Sequence[int]) -> Tensor:
    """Codes ``(B, 1, *S)`` at a coarser ``size``, each voxel the nearest, none mixed."""
    if tuple(label.shape[2:]) == tuple(size):
        return label
    return functional.interpolate(label, size=list(size), mode="nearest")
