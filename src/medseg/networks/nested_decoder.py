"""The nested way up of U-Net++: every node between encoder and logits has one of its own below it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.conv_block import make_conv_block
from medseg.networks.layers import Layers
from medseg.networks.pyramid import find_climbs, kernel_at
from medseg.networks.upsample import Upsampling, make_upsample


class NestedDecoder(nn.Module):
    """Decodes any pyramid by nodes ``(level, column)`` that read all earlier ones of their level.

    Column 0 is the encoder. A node joins the columns before it with the node below in the column before,
    enlarged. Deep supervision puts a head on every node of the finest level, the last column first; all
    of those logits have the finest level's size. A pyramid that starts below the input's resolution
    gets one more enlarging after the last column, so that only its first logits have the input's size.

    Args:
        pyramid: what the encoder publishes.
        topology: where the kernel sizes come from.
        out_channels: ``K``.
        deep_supervision: whether training gets the logits of the earlier columns too.
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
        super().__init__()
        self.upsamples, self.blocks = nn.ModuleDict(), nn.ModuleDict()
        climbs = find_climbs(pyramid)
        meeting = [c for c in climbs if c.skip]
        self.columns = len(meeting)
        for column in range(1, self.columns + 1):
            for level, climb in enumerate(meeting[: self.columns + 1 - column]):
                inputs = climb.here * (column + 1)
                kernel = kernel_at(topology, climb.stride)
                name = _name(level, column)
                self.upsamples[name] = make_upsample(upsampling, layers, climb.below, climb.here, climb.step)
                self.blocks[name] = make_conv_block(
                    layers, inputs, climb.here, kernel, repeats=convs_per_level
                )
        self.last: nn.Module | None = None
        width, ones = pyramid.channels[0], (1,) * pyramid.spatial_dims
        if len(climbs) > self.columns:
            kernel = kernel_at(topology, ones)
            self.last = nn.Sequential(
                make_upsample(upsampling, layers, width, width, climbs[0].step),
                *make_conv_block(layers, width, width, kernel, repeats=convs_per_level),
            )
        count = max(1, self.columns) if deep_supervision else 1
        self.heads = nn.ModuleList(
            layers.make_conv(width, out_channels, ones, ones, bias=True) for _ in range(count)
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Features per level, finest first -> logits, those of earlier columns in training alone."""
        rows = [[level] for level in features]
        for column in range(1, self.columns + 1):
            for level in range(self.columns + 1 - column):
                name = _name(level, column)
                enlarged = self.upsamples[name](rows[level + 1][column - 1])
                rows[level].append(self.blocks[name](torch.cat((*rows[level], enlarged), dim=1)))
        decoded = rows[0][::-1]
        if self.last is not None:
            decoded[0] = self.last(decoded[0])
        count = len(self.heads) if self.training else 1
        return tuple(head(node) for head, node in zip(self.heads[:count], decoded, strict=False))


def _name(level: int, column: int) -> str:
    return f"{level}_{column}"
