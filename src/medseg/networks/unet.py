"""The plain U-Net (Ronneberger 2015), in the form nnU-Net gave it (Isensee 2021)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.conv_block import make_conv_block
from medseg.networks.encoder import LevelEncoder
from medseg.networks.encoder_decoder import EncoderDecoder
from medseg.networks.initialise import initialise_he
from medseg.networks.layers import Layers
from medseg.networks.pyramid import make_pyramid
from medseg.networks.unet_decoder import UNetDecoder


class UNet:
    """Strided convolutions down, transposed ones up, skips between.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        norm: ``instance``, ``batch`` or ``group``.
        activation: ``leaky_relu``, ``relu``, ``gelu`` or ``silu``.
        dropout: share of whole channels dropped after each convolution.
        convs_per_level: convolutions at each level, down and up.
        upsampling: ``transposed`` or ``linear``.
    """

    MODULAR: ClassVar[bool] = True
    DIMS: ClassVar[tuple[int, ...]] = (2, 3)

    def __init__(
        self,
        topology: Topology,
        *,
        norm: Literal["instance", "batch", "group"] = "instance",
        activation: Literal["leaky_relu", "relu", "gelu", "silu"] = "leaky_relu",
        dropout: float = 0.0,
        convs_per_level: int = 2,
        upsampling: Literal["transposed", "linear"] = "transposed",
    ) -> None:
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, norm, activation, dropout)
        self.convs_per_level = convs_per_level
        self.upsampling = upsampling

    def encoder(self, in_channels: int) -> nn.Module:
        """A block of convolutions per level, the first of them strided."""
        stages = []
        channels = in_channels
        levels = zip(self.topology.widths, self.topology.kernels, self.topology.strides, strict=True)
        for width, kernel, stride in levels:
            block = make_conv_block(
                self.layers, channels, width, kernel, stride, repeats=self.convs_per_level
            )
            stages.append(block)
            channels = width
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
            convs_per_level=self.convs_per_level,
            upsampling=self.upsampling,
        )
        initialise_he(decoder)
        return decoder

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        """Encoder and decoder in one."""
        encoder = self.encoder(in_channels)
        return EncoderDecoder(
            encoder, self.decoder(make_pyramid(self.topology), out_channels, deep_supervision)
        )
