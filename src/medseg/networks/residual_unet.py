"""The U-Net with a residual encoder that nnU-Net now recommends (Isensee 2024, "nnU-Net Revisited")."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.conv_block import make_conv_block
from medseg.networks.layers import Activation, Layers, Norm
from medseg.networks.per_level import spread
from medseg.networks.residual_block import ResidualBlock
from medseg.networks.unet_architecture import UNetArchitecture
from medseg.networks.unet_decoder import UNetDecoder
from medseg.networks.upsample import Upsampling

NNUNET_BLOCKS = (1, 3, 4, 6, 6, 6)
"""Residual blocks per level of nnU-Net's presets; deeper levels have as many as the last."""


class ResidualUNet(UNetArchitecture):
    """Many residual blocks down, a light plain decoder up.

    With the plan's settings it is nnU-Net's ``ResidualEncoderUNet`` without the biases of convolutions.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        blocks_per_level: residual blocks per level, finest first; the last number also counts for
            deeper levels. ``None`` for nnU-Net's 1, 3, 4, 6, 6, 6.
        decoder_convs: convolutions at each level on the way up.
        norm: ``instance``, ``batch`` or ``group``.
        activation: ``leaky_relu``, ``relu``, ``gelu``, ``silu``, ``elu`` or ``prelu``.
        dropout: share of whole channels dropped after the first convolution of each block.
        upsampling: ``transposed``, ``overlapping`` or ``linear``.

    Raises:
        UserError: for a level without a block.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        blocks_per_level: Sequence[int] | None = None,
        decoder_convs: int = 1,
        norm: Norm = "instance",
        activation: Activation = "leaky_relu",
        dropout: float = 0.0,
        upsampling: Upsampling = "transposed",
    ) -> None:
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, norm, activation, dropout)
        blocks = NNUNET_BLOCKS if blocks_per_level is None else blocks_per_level
        self.blocks = spread(blocks, len(topology.widths), "network.blocks_per_level")
        self.decoder_convs = decoder_convs
        self.upsampling = upsampling

    def encoder(self, in_channels: int) -> nn.Module:
        """The stages one after the other; as nnU-Net's they start as their shortcuts."""
        encoder = super().encoder(in_channels)
        for module in encoder.modules():
            if isinstance(module, ResidualBlock):
                module.silence()
        return encoder

    def make_stages(self, in_channels: int) -> list[nn.Module]:
        """A plain convolution as the stem, then residual blocks at each level, the first strided."""
        widths, kernels, ones = self.topology.widths, self.topology.kernels, (1,) * self.layers.dims
        stages: list[nn.Module] = []
        for level, count in enumerate(self.blocks):
            stage = nn.Sequential()
            channels = widths[max(level - 1, 0)]
            if level == 0:
                stage.extend(make_conv_block(self.layers, in_channels, channels, kernels[0], repeats=1))
            for i in range(count):
                stride = self.topology.strides[level] if i == 0 else ones
                stage.append(ResidualBlock(self.layers, channels, widths[level], kernels[level], stride))
                channels = widths[level]
            stages.append(stage)
        return stages

    def make_decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """A light way up."""
        return UNetDecoder(
            pyramid,
            self.topology,
            out_channels,
            deep_supervision,
            layers=self.layers,
            convs_per_level=self.decoder_convs,
            upsampling=self.upsampling,
        )
