"""The U-Net's way up: enlarge, join what the encoder found at that level, convolve."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.conv_block import make_conv_block
from medseg.networks.layers import Layers
from medseg.networks.pyramid import find_steps, kernel_at
from medseg.networks.upsample import Upsampling, make_upsample


class UNetDecoder(nn.Module):
    """Decodes any pyramid, level by level, to logits of the input's size.

    Deep supervision puts a head on every level it makes but the coarsest, as nnU-Net does; without
    it there is the finest head alone. A pyramid that starts below the input's resolution gets one
    more enlarging at the end, without a skip.

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
        super().__init__()
        steps = find_steps(pyramid)
        full, ones = pyramid.strides[0] == (1,) * pyramid.spatial_dims, (1,) * pyramid.spatial_dims
        # what each upsampling starts from, gives, and meets there, finest first
        width = pyramid.channels
        below = width[1:] if full else width
        made = width[:-1] if full else (width[0], *width[:-1])
        skips = width[:-1] if full else (0, *width[:-1])
        strides = pyramid.strides[:-1] if full else (ones, *pyramid.strides[:-1])
        steps = steps[1:] if full else steps

        self.upsamples = nn.ModuleList()
        self.blocks = nn.ModuleList()
        for inputs, outputs, skip, step, stride in zip(below, made, skips, steps, strides, strict=True):
            kernel = kernel_at(topology, stride)
            self.upsamples.append(make_upsample(upsampling, layers, inputs, outputs, step))
            block = make_conv_block(layers, outputs + skip, outputs, kernel, repeats=convs_per_level)
            self.blocks.append(block)
        head_widths = (made or width)[: max(1, len(made) - 1) if deep_supervision else 1]
        self.heads = nn.ModuleList(
            layers.make_conv(w, out_channels, ones, ones, bias=True) for w in head_widths
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Features per level, finest first -> logits, the coarser ones in training alone."""
        depth = len(self.blocks)
        skips = list(features)[: len(features) - 1]
        offset = depth - len(skips)  # 1 where the last enlarging has no skip
        now = features[-1]
        decoded = [now]
        for level in range(depth - 1, -1, -1):
            now = self.upsamples[level](now)
            if level >= offset:
                now = torch.cat((now, skips[level - offset]), dim=1)
            now = self.blocks[level](now)
            decoded.insert(0, now)
        count = len(self.heads) if self.training else 1
        return tuple(head(level) for head, level in zip(self.heads[:count], decoded, strict=False))
