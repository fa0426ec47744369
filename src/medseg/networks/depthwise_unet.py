"""A U-Net of deployment size: depthwise separable blocks (Howard 2017; Sandler 2018), in 2D and 3D."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.adding_decoder import AddingDecoder, make_heads
from medseg.networks.conv_block import make_conv_block
from medseg.networks.inverted_residual import InvertedResidual
from medseg.networks.layers import Layers
from medseg.networks.pyramid import find_climbs, kernel_at
from medseg.networks.unet_architecture import UNetArchitecture
from medseg.networks.upsample import make_upsample


class DepthwiseUNet(UNetArchitecture):
    """A U-Net of some 100,000 parameters for devices: inverted residual blocks down, half as many up.

    The finest level, where memory goes, has plain separable convolutions; skips are added, not joined; the
    way up interpolates. With ``norm=batch`` and ``activation=relu`` every layer can be folded and quantised.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        width_share: channels per level, as a share of the plan's, rounded to multiples of 8.
        max_width: channels per level at most.
        blocks_per_level: on the way down; on the way up there is one.
        expansion: channels within a block, as a multiple of its width.
        norm: ``instance``, ``batch`` or ``group``.
        activation: ``leaky_relu``, ``relu``, ``gelu`` or ``silu``.

    Raises:
        UserError: for options out of range.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        width_share: float = 0.5,
        max_width: int = 64,
        blocks_per_level: int = 2,
        expansion: int = 3,
        norm: Literal["instance", "batch", "group"] = "instance",
        activation: Literal["leaky_relu", "relu", "gelu", "silu"] = "relu",
    ) -> None:
        if width_share <= 0 or max_width < 8 or blocks_per_level < 1 or expansion < 1:
            problem = f"width_share {width_share}, max_width {max_width}, "
            problem += f"blocks_per_level {blocks_per_level}, expansion {expansion}"
            raise UserError("network", problem, "give more than 0, at least 8, 1 and 1")
        eighths = [max(1, round(width * width_share / 8)) for width in topology.widths]
        self.topology = replace(topology, widths=tuple(min(8 * number, max_width) for number in eighths))
        self.layers = Layers(topology.spatial_dims, norm, activation)
        self.blocks_per_level, self.expansion = blocks_per_level, expansion

    def make_stages(self, in_channels: int) -> list[nn.Module]:
        """A convolution as the stem, then blocks at each level, the first of them strided."""
        ones, kernels, strides = (1,) * self.layers.dims, self.topology.kernels, self.topology.strides
        stages: list[nn.Module] = []
        inputs = self.topology.widths[0]
        for level, width in enumerate(self.topology.widths):
            stage = nn.Sequential()
            if level == 0:
                stem = make_conv_block(self.layers, in_channels, width, kernels[0], strides[0], repeats=1)
                stage.extend(stem)
            for block in range(self.blocks_per_level):
                stride = strides[level] if block == 0 and level > 0 else ones
                stage.append(self._block(level > 0, inputs, width, kernels[level], stride))
                inputs = width
            stages.append(stage)
        return stages

    def make_decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The light way up: project and interpolate, add the skip, one block."""
        climbs, ones = find_climbs(pyramid), (1,) * self.layers.dims
        return AddingDecoder(
            [make_upsample("linear", self.layers, c.below, c.here, c.step) for c in climbs],
            [
                self._block(c.stride != ones, c.here, c.here, kernel_at(self.topology, c.stride), ones)
                for c in climbs
            ],
            make_heads(self.layers, pyramid, out_channels, deep_supervision),
        )

    def _block(
        self, wide: bool, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...]
    ) -> nn.Module:
        expansion = self.expansion if wide else 1
        return InvertedResidual(self.layers, inputs, outputs, kernel, stride, expansion=expansion)
