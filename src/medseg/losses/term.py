"""What every loss of logits against labels is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from medseg.contracts import Labels
from medseg.losses.target import Prepared, prepare


class LossTerm(nn.Module, ABC):
    """A loss that says what it makes of a prepared target; terms of a sum share the preparation.

    Args:
        labels: what the codes mean.
    """

    def __init__(self, labels: Labels) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """``(B, K, *S)`` logits and ``(B, 1, *S)`` codes -> a scalar, computed in float32."""
        with torch.autocast(logits.device.type, enabled=False):
            return self.compare(prepare(logits, label, self.labels))

    @abstractmethod
    def compare(self, target: Prepared) -> Tensor:
        """The scalar; 0 with a gradient of zeros where every voxel is ignored."""
