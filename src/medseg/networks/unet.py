"""The plain U-Net (Ronneberger 2015), in the form nnU-Net gave it (Isensee 2021)."""

from __future__ import annotations

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.conv_block import Downsampling, make_conv_stages
from medseg.networks.layers import Activation, Layers, Norm
from medseg.networks.unet_architecture import UNetArchitecture
from medseg.networks.unet_decoder import UNetDecoder
from medseg.networks.upsample import Upsampling


class UNet(UNetArchitecture):
    """Strided convolutions down, transposed ones up, skips between.

    With the plan's settings it is nnU-Net's ``PlainConvUNet`` without the biases of convolutions, which
    the norms take away again, and without those of the transposed ones.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        norm: ``instance``, ``batch`` or ``group``.
        activation: ``leaky_relu``, ``relu``, ``gelu``, ``silu``, ``elu`` or ``prelu``.
        dropout: share of whole channels dropped after each convolution.
        convs_per_level: convolutions at each level, down and up.
        downsampling: ``strided`` or ``max_pool`` (Ronneberger's).
        upsampling: ``transposed``, ``overlapping`` or ``linear``.

    Raises:
        UserError: for an option out of range.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        norm: Norm = "instance",
        activation: Activation = "leaky_relu",
        dropout: float = 0.0,
        convs_per_level: int = 2,
        downsampling: Downsampling = "strided",
        upsampling: Upsampling = "transposed",
    ) -> None:
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, norm, activation, dropout)
        self.convs_per_level = convs_per_level
        self.downsampling = downsampling
        self.upsampling = upsampling

    def make_stages(self, in_channels: int) -> list[nn.Module]:
        """A block of convolutions per level."""
        return make_conv_stages(
            self.layers,
            self.topology,
            in_channels,
            repeats=self.convs_per_level,
            downsampling=self.downsampling,
        )

    def make_decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """As many convolutions at each level on the way up."""
        return UNetDecoder(
            pyramid,
            self.topology,
            out_channels,
            deep_supervision,
            layers=self.layers,
            convs_per_level=self.convs_per_level,
            upsampling=self.upsampling,
        )
