"""All modalities side by side, then a 1x1 convolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.fusion.pointwise import make_pointwise, start_as_sum
from medseg.fusion.presence import keep_each


class ConcatenationMerge(nn.Module):
    """``W [f_1; ..; f_M]`` with zeros for what is absent; starts as the mean of all ``M``.

    The only merge that knows which modality is which. It does not make up for a missing one: its share
    of the sum is just gone, so train it on cases that lack some.

    Args:
        channels: ``C``.
        modalities: ``M``.
        dims: 2 or 3.
    """

    def __init__(self, channels: int, modalities: int, dims: int) -> None:
        super().__init__()
        # without a bias, a row that lacks every modality stays zero
        self.project = make_pointwise(modalities * channels, channels, dims)
        start_as_sum(self.project, [1 / modalities] * modalities)

    def forward(self, features: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, C, *S)`` and ``(B, M)`` bool -> ``(B, C, *S)``."""
        merged: Tensor = self.project(torch.cat(keep_each(features, present), dim=1))
        return merged
