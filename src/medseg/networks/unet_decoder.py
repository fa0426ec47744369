"""The U-Net's way up: enlarge, join what the encoder found at that level, convolve."""

from __future__ import annotations

from medseg.contracts import Pyramid, Topology
from medseg.networks.conv_block import make_conv_block
from medseg.networks.layers import Layers
from medseg.networks.pyramid import find_climbs, kernel_at
from medseg.networks.skip_decoder import SkipDecoder, count_heads
from medseg.networks.upsample import Upsampling, make_upsample


class UNetDecoder(SkipDecoder):
    """Decodes any pyramid, level by level, to logits of the input's size.

    A pyramid that starts below the input's resolution gets one more enlarging at the end, without a skip.

    Args:
        pyramid: what the encoder publishes.
        topology: where the kernel sizes come from.
        out_channels: ``K``.
        deep_supervision: whether training gets coarser logits too.
        layers: which layers to use.
        convs_per_level: convolutions after each join.
        upsampling: how a level is enlarged.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        topology: Topology,
        out_channels: int,
        deep_supervision: bool,
        *,
        layers: Layers,
        convs_per_level: int,
        upsampling: Upsampling,
    ) -> None:
        climbs, ones = find_climbs(pyramid), (1,) * pyramid.spatial_dims
        widths = [c.here for c in climbs] or list(pyramid.channels)
        super().__init__(
            [make_upsample(upsampling, layers, c.below, c.here, c.step) for c in climbs],
            [
                make_conv_block(
                    layers, c.here + c.skip, c.here, kernel_at(topology, c.stride), repeats=convs_per_level
                )
                for c in climbs
            ],
            [
                layers.make_conv(w, out_channels, ones, ones, bias=True)
                for w in widths[: count_heads(len(climbs), deep_supervision)]
            ],
        )
