"""A learned weight per modality, channel and voxel (Arevalo 2017, gated multimodal units)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from medseg.fusion.merges.mean import MeanMerge
from medseg.fusion.pointwise import make_pointwise
from medseg.fusion.presence import keep_each, weigh


class GatedMerge(nn.Module):
    """``sum of a_m f_m`` with ``a = softmax over the present m of U relu(V f_m + W mean(f) + b)``.

    The original's gate of two modalities, for any number: each is weighed in the light of what the
    others say. All share U, V and W, so their order does not matter. Starts as the mean.

    Args:
        channels: ``C``.
        dims: 2 or 3.
    """

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        hidden = max(4, channels // 4)
        self.mean = MeanMerge()
        self.own = make_pointwise(channels, hidden, dims)
        self.context = make_pointwise(channels, hidden, dims, bias=True)
        self.score = make_pointwise(hidden, channels, dims)
        nn.init.zeros_(self.score.weight)

    def forward(self, features: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, C, *S)`` and ``(B, M)`` bool -> ``(B, C, *S)``; zero for rows with none."""
        kept = keep_each(features, present)
        context = self.context(self.mean(kept, present))
        scores = torch.stack([self.score((self.own(f) + context).relu()) for f in kept], dim=1)
        shares = weigh(scores, present).unbind(1)
        return reduce(torch.add, (a * f for a, f in zip(shares, kept, strict=True)))
