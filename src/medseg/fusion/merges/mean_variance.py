"""Mean and variance over the modalities (Havaei 2016, HeMIS)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from medseg.fusion.merges.mean import MeanMerge
from medseg.fusion.pointwise import make_pointwise, start_as_sum
from medseg.fusion.presence import broadcast, count_present


class MeanVarianceMerge(nn.Module):
    """``W [mean; variance]`` over the modalities that are there; starts as the mean.

    The variance tells where the modalities disagree. It is unbiased, and zero where there is only one.

    Args:
        channels: ``C``.
        dims: 2 or 3.
    """

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.mean = MeanMerge()
        self.project = make_pointwise(2 * channels, channels, dims)
        start_as_sum(self.project, [1.0, 0.0])

    def forward(self, features: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, C, *S)`` and ``(B, M)`` bool -> ``(B, C, *S)``; zero for rows with none."""
        mean = self.mean(features, present)
        apart = [
            (f - mean).masked_fill(~broadcast(present[:, m], f), 0).square() for m, f in enumerate(features)
        ]
        variance = reduce(torch.add, apart) / (count_present(present, mean) - 1).clamp(min=1)
        merged: Tensor = self.project(torch.cat((mean, variance), dim=1))
        return merged
