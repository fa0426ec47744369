"""Channel and spatial attention (Woo 2018, CBAM; the two added as in Park 2018, BAM)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.fusion.presence import keep_each, weigh

_CONV: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_KERNEL = {2: 7, 3: 3}
"""CBAM looks 7 pixels wide; in 3D that is 343 weights per channel and most of the merge's time."""


class AttentionMerge(nn.Module):
    """``sum of a_m f_m`` with ``a = softmax over the present m of (channel_m + spatial_m)``.

    ``channel_m`` judges each channel by its mean and maximum over space, ``spatial_m`` each
    neighbourhood by the mean and maximum over channels. Modalities compete, where the original's sigmoids
    would let a single one fade. Their order does not matter. Starts as the mean.

    Args:
        channels: ``C``.
        dims: 2 or 3.
    """

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        hidden = max(4, channels // 8)
        judge = nn.Linear(hidden, channels, bias=False)
        self.channel = nn.Sequential(nn.Linear(channels, hidden, bias=False), nn.ReLU(), judge)
        self.spatial = _CONV[dims](2, 1, _KERNEL[dims], bias=False)
        # The frame is put on by hand: a kernel larger than the features has a wrong gradient on CPUs in
        # bfloat16 (see networks/convolution.py).
        self.frame = (_KERNEL[dims] // 2,) * 2 * dims
        nn.init.zeros_(judge.weight)
        nn.init.zeros_(self.spatial.weight)

    def forward(self, features: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, C, *S)`` and ``(B, M)`` bool -> ``(B, C, *S)``; zero for rows with none."""
        kept = keep_each(features, present)
        shares = weigh(torch.stack([self._score(f) for f in kept], dim=1), present).unbind(1)
        return reduce(torch.add, (a * f for a, f in zip(shares, kept, strict=True)))

    def _score(self, features: Tensor) -> Tensor:
        flat = features.flatten(2)
        channel: Tensor = self.channel(flat.mean(2)) + self.channel(flat.amax(2))
        views = torch.cat((features.mean(1, keepdim=True), features.amax(1, keepdim=True)), dim=1)
        spatial: Tensor = self.spatial(functional.pad(views, self.frame))
        return channel.reshape(channel.shape + (1,) * (features.ndim - 2)) + spatial
