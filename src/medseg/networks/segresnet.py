"""SegResNet (Myronenko 2018, "3D MRI brain tumor segmentation using autoencoder regularization")."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.adding_decoder import AddingDecoder
from medseg.networks.layers import Activation, Layers, Norm
from medseg.networks.per_level import spread
from medseg.networks.preactivation_block import PreactivationBlock
from medseg.networks.pyramid import find_climbs, kernel_at
from medseg.networks.skip_decoder import count_heads
from medseg.networks.unet_architecture import UNetArchitecture
from medseg.networks.upsample import Upsampling, make_upsample


class SegResNet(UNetArchitecture):
    """Many pre-activated residual blocks down, few up, skips added; without the autoencoder branch.

    With a plan of kernels 3, strides 2 and doubled widths it is MONAI's ``SegResNet``. The paper's sizes
    are ``plan.width=32``, four levels and ``dropout=0.2``.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        blocks_per_level: residual blocks per level on the way down, finest first; the last number also
            counts for deeper levels.
        decoder_blocks: the same on the way up.
        norm: ``group``, ``instance`` or ``batch``.
        groups: of a group norm; the largest common divisor with the channels is taken. ``None`` for 8
            channels per group.
        activation: ``relu``, ``leaky_relu``, ``gelu``, ``silu``, ``elu`` or ``prelu``.
        dropout: share of whole channels dropped after the first convolution.
        upsampling: ``linear``, ``transposed`` or ``overlapping``.

    Raises:
        UserError: for a level without a block.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        blocks_per_level: Sequence[int] = (1, 2, 2, 4),
        decoder_blocks: Sequence[int] = (1,),
        norm: Norm = "group",
        groups: int | None = 8,
        activation: Activation = "relu",
        dropout: float = 0.0,
        upsampling: Upsampling = "linear",
    ) -> None:
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, norm, activation, dropout, groups)
        self.blocks = spread(blocks_per_level, len(topology.widths), "network.blocks_per_level")
        self.decoder_blocks = tuple(decoder_blocks)
        self.upsampling = upsampling

    def make_stages(self, in_channels: int) -> list[nn.Module]:
        """A convolution that makes the step, then residual blocks."""
        stages: list[nn.Module] = []
        topology = self.topology
        levels = zip(topology.widths, topology.kernels, topology.strides, self.blocks, strict=True)
        for width, kernel, stride, count in levels:
            stage = nn.Sequential(self.layers.make_conv(in_channels, width, kernel, stride))
            if not stages:
                stage.extend(self.layers.make_dropout())
            stage.extend(self._blocks(width, kernel, count))
            stages.append(stage)
            in_channels = width
        return stages

    def make_decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The light way up: a level is enlarged to the skip's channels, the skip added, the sum refined."""
        climbs, layers, ones = find_climbs(pyramid), self.layers, (1,) * pyramid.spatial_dims
        counts = spread(self.decoder_blocks, max(1, len(climbs)), "network.decoder_blocks")
        widths = [c.here for c in climbs] or list(pyramid.channels)
        return AddingDecoder(
            [make_upsample(self.upsampling, layers, c.below, c.here, c.step) for c in climbs],
            [
                nn.Sequential(*self._blocks(c.here, kernel_at(self.topology, c.stride), count))
                for c, count in zip(climbs, counts, strict=False)
            ],
            [
                nn.Sequential(
                    layers.make_norm(width),
                    layers.make_activation(width),
                    layers.make_conv(width, out_channels, ones, ones, bias=True),
                )
                for width in widths[: count_heads(len(climbs), deep_supervision)]
            ],
        )

    def _blocks(self, width: int, kernel: tuple[int, ...], count: int) -> list[nn.Module]:
        return [PreactivationBlock(self.layers, width, kernel) for _ in range(count)]
