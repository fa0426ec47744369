"""A decoder of fewer channels than the encoder gives: each level is projected first (Lin 2017, FPN)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.contracts import Pyramid
from medseg.networks.layers import Layers


class LateralDecoder(nn.Module):
    """A 1x1 convolution per level in front of a decoder.

    Args:
        pyramid: what the encoder publishes.
        narrow: the same levels with the channels that the decoder reads.
        decoder: reads ``narrow``.
        layers: which layers to use.
    """

    def __init__(self, pyramid: Pyramid, narrow: Pyramid, decoder: nn.Module, layers: Layers) -> None:
        super().__init__()
        ones = (1,) * pyramid.spatial_dims
        self.laterals = nn.ModuleList(
            layers.make_conv(wide, few, ones, ones, bias=True)
            for wide, few in zip(pyramid.channels, narrow.channels, strict=True)
        )
        self.decoder = decoder

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Features per level, finest first -> logits, the coarser ones in training alone."""
        pairs = zip(self.laterals, features, strict=True)
        logits: tuple[Tensor, ...] = self.decoder([lateral(level) for lateral, level in pairs])
        return logits
