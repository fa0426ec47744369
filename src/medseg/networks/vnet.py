"""V-Net (Milletari 2016, "Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.layers import Activation, Layers, Norm
from medseg.networks.per_level import spread
from medseg.networks.unet_architecture import UNetArchitecture
from medseg.networks.vnet_blocks import InputStage, make_down_stage
from medseg.networks.vnet_decoder import VNetDecoder


class VNet(UNetArchitecture):
    """Residual stages, convolutions as large as their stride between them, a wide way up.

    The original has no norms, one modality, and 5x5x5 kernels (``kernel_size=5``) on five levels of 16 to
    256 channels. MONAI's has batch norms, ELU and other numbers of convolutions: ``kernel_size=5 norm=batch
    activation=elu convs_per_level=[1,1,2,3,2] decoder_convs=[1,1,2,2]`` is that network, without the
    biases of its transposed convolutions, which the norms take away again.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        kernel_size: voxels on each axis on which the plan's kernel is larger than 1; ``None``: the plan's.
        convs_per_level: convolutions at each level on the way down, finest first; the last number also
            counts for deeper levels.
        decoder_convs: the same on the way up.
        norm: ``instance``, ``batch`` or ``group``.
        activation: ``prelu``, ``elu``, ``leaky_relu``, ``relu``, ``gelu`` or ``silu``.
        dropout: share of whole channels dropped before the convolutions of each stage but the first, and
            of the skips.

    Raises:
        UserError: an even kernel, or a level without a convolution.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        kernel_size: int | None = None,
        convs_per_level: Sequence[int] = (1, 2, 3, 3, 3),
        decoder_convs: Sequence[int] = (1, 2, 3, 3),
        norm: Norm = "instance",
        activation: Activation = "prelu",
        dropout: float = 0.0,
    ) -> None:
        if kernel_size is not None:
            if kernel_size < 1 or kernel_size % 2 == 0:
                raise UserError("network.kernel_size", f"{kernel_size} is not odd", "give 3, 5 or 7")
            kernels = tuple(tuple(kernel_size if k > 1 else 1 for k in row) for row in topology.kernels)
            topology = replace(topology, kernels=kernels)
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, norm, activation, dropout)
        self.convs_per_level = spread(convs_per_level, len(topology.widths), "network.convs_per_level")
        self.decoder_convs = tuple(decoder_convs)

    def make_stages(self, in_channels: int) -> list[nn.Module]:
        """The image's own stage, then residual ones; these alone where the first level has a stride."""
        stages: list[nn.Module] = []
        topology = self.topology
        levels = zip(topology.widths, topology.kernels, topology.strides, self.convs_per_level, strict=True)
        for width, kernel, stride, repeats in levels:
            if not stages and set(stride) == {1}:
                stages.append(InputStage(self.layers, in_channels, width, kernel, repeats))
            else:
                stages.append(make_down_stage(self.layers, in_channels, width, kernel, stride, repeats))
            in_channels = width
        return stages

    def make_decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The wide way up."""
        return VNetDecoder(
            pyramid,
            self.topology,
            out_channels,
            deep_supervision,
            layers=self.layers,
            convs_per_level=self.decoder_convs,
        )
