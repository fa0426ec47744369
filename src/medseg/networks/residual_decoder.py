"""The way up of UNETR and Swin UNETR: enlarge, join, a residual block (Hatamizadeh 2022)."""

from __future__ import annotations

from medseg.contracts import Pyramid, Topology
from medseg.networks.adding_decoder import make_heads
from medseg.networks.layers import Layers
from medseg.networks.pyramid import find_climbs, kernel_at
from medseg.networks.residual_block import ResidualBlock
from medseg.networks.skip_decoder import SkipDecoder


def make_residual_decoder(
    pyramid: Pyramid, topology: Topology, out_channels: int, deep_supervision: bool, layers: Layers
) -> SkipDecoder:
    """Features of any pyramid -> logits.

    Args:
        pyramid: what the encoder publishes.
        topology: where the kernel sizes come from.
        out_channels: ``K``.
        deep_supervision: whether training gets coarser logits too.
        layers: which layers to use.
    """
    climbs, ones = find_climbs(pyramid), (1,) * pyramid.spatial_dims
    return SkipDecoder(
        [layers.make_transposed_conv(c.below, c.here, c.step) for c in climbs],
        [ResidualBlock(layers, c.here + c.skip, c.here, kernel_at(topology, c.stride), ones) for c in climbs],
        make_heads(layers, pyramid, out_channels, deep_supervision),
    )
