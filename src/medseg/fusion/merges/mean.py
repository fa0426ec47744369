"""The mean over the modalities that are there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from medseg.fusion.presence import count_present, keep_each


class MeanMerge(nn.Module):
    """``sum of the present features / their number``; nothing to learn, any subset will do."""

    def forward(self, features: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, C, *S)`` and ``(B, M)`` bool -> ``(B, C, *S)``; zero for rows with none."""
        total = reduce(torch.add, keep_each(features, present))
        return total / count_present(present, total)
