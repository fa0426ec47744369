"""The largest response of any modality."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from medseg.fusion.presence import broadcast


class MaxMerge(nn.Module):
    """The maximum over the modalities that are there, per channel and voxel; nothing to learn."""

    def forward(self, features: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, C, *S)`` and ``(B, M)`` bool -> ``(B, C, *S)``; zero for rows with none."""
        lowest = torch.finfo(features[0].dtype).min
        kept = [f.masked_fill(~broadcast(present[:, m], f), lowest) for m, f in enumerate(features)]
        largest = reduce(torch.maximum, kept)
        return largest.masked_fill(~broadcast(present.any(1), largest), 0)
