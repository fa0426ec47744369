"""A decoder that adds what the encoder found, where a U-Net's would join it."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.contracts import Pyramid
from medseg.networks.layers import Layers
from medseg.networks.pyramid import find_climbs
from medseg.networks.skip_decoder import SkipDecoder, count_heads


class AddingDecoder(SkipDecoder):
    """As `SkipDecoder`; enlarging must give the skip's channels."""

    def join(self, level: int, enlarged: Tensor, skip: Tensor, below: Tensor) -> Tensor:
        """The sum of the two."""
        del level, below
        return enlarged + skip


def make_heads(
    layers: Layers, pyramid: Pyramid, out_channels: int, deep_supervision: bool
) -> list[nn.Module]:
    """A 1x1 convolution for each level with logits, where levels are made as wide as the pyramid's."""
    climbs, ones = find_climbs(pyramid), (1,) * pyramid.spatial_dims
    widths = [climb.here for climb in climbs] or list(pyramid.channels)
    count = count_heads(len(climbs), deep_supervision)
    return [layers.make_conv(width, out_channels, ones, ones, bias=True) for width in widths[:count]]
