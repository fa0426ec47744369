"""U-Net++ (Zhou 2018, "A Nested U-Net Architecture for Medical Image Segmentation")."""

from __future__ import annotations

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.conv_block import Downsampling, make_conv_stages
from medseg.networks.layers import Activation, Layers, Norm
from medseg.networks.nested_decoder import NestedDecoder
from medseg.networks.unet_architecture import UNetArchitecture
from medseg.networks.upsample import Upsampling


class UNetPlusPlus(UNetArchitecture):
    """Nested U-Nets of every depth that share an encoder and join densely.

    Keeps 3 to 6 times as many features as a U-Net of the same plan: give a smaller ``plan.memory_gb``. Its
    deep supervision is its own: logits of full size from the nested U-Net of every depth, the deepest first;
    prediction takes the deepest alone (the original may average them). They weigh as coarser levels do
    elsewhere; the original weighs them alike, which is ``objective.decay=1``. Strided convolutions, instance
    norm and leaky ReLU stand for the original's max pooling and ReLU unless chosen.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        norm: ``instance``, ``batch`` or ``group``.
        activation: ``leaky_relu``, ``relu``, ``gelu``, ``silu``, ``elu`` or ``prelu``.
        dropout: share of whole channels dropped after each convolution.
        convs_per_level: convolutions in each node.
        downsampling: ``strided`` or ``max_pool``.
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
        self.downsampling, self.upsampling = downsampling, upsampling

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
        """The nested way up."""
        return NestedDecoder(
            pyramid,
            self.topology,
            out_channels,
            deep_supervision,
            layers=self.layers,
            convs_per_level=self.convs_per_level,
            upsampling=self.upsampling,
        )
