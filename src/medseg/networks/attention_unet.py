"""Attention U-Net (Oktay 2018, "Learning Where to Look for the Pancreas")."""

from __future__ import annotations

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.attention_decoder import AttentionDecoder
from medseg.networks.attention_gate import Gating
from medseg.networks.conv_block import Downsampling, make_conv_stages
from medseg.networks.layers import Activation, Layers, Norm
from medseg.networks.unet_architecture import UNetArchitecture
from medseg.networks.upsample import Upsampling


class AttentionUNet(UNetArchitecture):
    """A U-Net whose skips pass additive attention gates.

    What surrounds the gates is nnU-Net's U-Net where the original has max pooling, trilinear enlarging and
    ReLU (``downsampling=max_pool upsampling=linear activation=relu``). The published code's convolution
    and norm after each gate, which the paper does not have, are left out. A U-Net of two levels has its
    only skip gated. With ``gating=fine gate_finest=true norm=batch activation=relu upsampling=overlapping
    decoder_convs=1`` it is MONAI's ``AttentionUnet``, without biases before norms, and with the network's
    norm and activation after a join where MONAI has an instance norm and a PReLU throughout.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        gating: ``coarse``: gates look at the coarser grid and are interpolated (the paper's); ``fine``: at
            the skip's own, with norms (MONAI's).
        gate_finest: whether the finest skip is gated too; the paper leaves it out.
        norm: ``instance``, ``batch`` or ``group``.
        activation: ``leaky_relu``, ``relu``, ``gelu``, ``silu``, ``elu`` or ``prelu``; gates have ReLU.
        dropout: share of whole channels dropped after each convolution.
        convs_per_level: convolutions at each level on the way down.
        decoder_convs: convolutions at each level on the way up.
        downsampling: ``strided`` or ``max_pool``.
        upsampling: ``transposed``, ``overlapping`` or ``linear``.

    Raises:
        UserError: for an option out of range.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        gating: Gating = "coarse",
        gate_finest: bool = False,
        norm: Norm = "instance",
        activation: Activation = "leaky_relu",
        dropout: float = 0.0,
        convs_per_level: int = 2,
        decoder_convs: int = 2,
        downsampling: Downsampling = "strided",
        upsampling: Upsampling = "transposed",
    ) -> None:
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, norm, activation, dropout)
        self.gating, self.gate_finest = gating, gate_finest
        self.convs_per_level, self.decoder_convs = convs_per_level, decoder_convs
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

    def make_decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> AttentionDecoder:
        """A way up whose skips are gated."""
        return AttentionDecoder(
            pyramid,
            self.topology,
            out_channels,
            deep_supervision,
            layers=self.layers,
            convs_per_level=self.decoder_convs,
            upsampling=self.upsampling,
            gating=self.gating,
            gate_finest=self.gate_finest,
        )

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The way up, freshly initialised, its gates open."""
        decoder = super().decoder(pyramid, out_channels, deep_supervision)
        assert isinstance(decoder, AttentionDecoder)
        decoder.open_gates()
        return decoder
