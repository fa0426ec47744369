"""The U-Net with a residual encoder that nnU-Net now recommends (Isensee 2024, "nnU-Net Revisited")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.conv_block import make_conv_block
from medseg.networks.encoder import LevelEncoder
from medseg.networks.encoder_decoder import EncoderDecoder
from medseg.networks.initialise import initialise_he
from medseg.networks.layers import Layers
from medseg.networks.pyramid import make_pyramid
from medseg.networks.residual_block import ResidualBlock
from medseg.networks.unet_decoder import UNetDecoder

NNUNET_BLOCKS = (1, 3, 4, 6, 6, 6)
"""Residual blocks per level of nnU-Net's presets; deeper levels have as many as the last."""


class ResidualUNet:
    """Many residual blocks down, a light plain decoder up.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        blocks_per_level: residual blocks per level, finest first; the last number also counts for
            deeper levels. ``None`` for nnU-Net's 1, 3, 4, 6, 6, 6.
        decoder_convs: convolutions at each level on the way up.
        norm: ``instance``, ``batch`` or ``group``.
        activation: ``leaky_relu``, ``relu``, ``gelu`` or ``silu``.
        dropout: share of whole channels dropped after the first convolution of each block.
        upsampling: ``transposed`` or ``linear``.

    Raises:
        UserError: for a level without a block.
    """

    MODULAR: ClassVar[bool] = True
    DIMS: ClassVar[tuple[int, ...]] = (2, 3)

    def __init__(
        self,
        topology: Topology,
        *,
        blocks_per_level: Sequence[int] | None = None,
        decoder_convs: int = 1,
        norm: Literal["instance", "batch", "group"] = "instance",
        activation: Literal["leaky_relu", "relu", "gelu", "silu"] = "leaky_relu",
        dropout: float = 0.0,
        upsampling: Literal["transposed", "linear"] = "transposed",
    ) -> None:
        blocks = NNUNET_BLOCKS if blocks_per_level is None else tuple(blocks_per_level)
        if not blocks or min(blocks) < 1:
            raise UserError(
                "network.blocks_per_level", f"{list(blocks)} leaves a level without a block", "give 1.."
            )
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, norm, activation, dropout)
        self.blocks = tuple(blocks[min(level, len(blocks) - 1)] for level in range(len(topology.widths)))
        self.decoder_convs = decoder_convs
        self.upsampling = upsampling

    def encoder(self, in_channels: int) -> nn.Module:
        """A plain convolution as the stem, then residual blocks at each level, the first strided."""
        widths, kernels, ones = self.topology.widths, self.topology.kernels, (1,) * self.layers.dims
        stages = []
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
        encoder = LevelEncoder(stages, make_pyramid(self.topology))
        initialise_he(encoder)
        return encoder

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The way up from any pyramid."""
        decoder = UNetDecoder(
            pyramid,
            self.topology,
            out_channels,
            deep_supervision,
            layers=self.layers,
            convs_per_level=self.decoder_convs,
            upsampling=self.upsampling,
        )
        initialise_he(decoder)
        return decoder

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        """Encoder and decoder in one."""
        encoder = self.encoder(in_channels)
        decoder = self.decoder(make_pyramid(self.topology), out_channels, deep_supervision)
        return EncoderDecoder(encoder, decoder)
