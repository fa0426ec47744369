"""MedNeXt (Roy 2023): a U-Net of ConvNeXt blocks with large kernels, also where it changes resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.adding_decoder import AddingDecoder, make_heads
from medseg.networks.encoder import LevelEncoder
from medseg.networks.encoder_decoder import EncoderDecoder
from medseg.networks.layers import Layers
from medseg.networks.mednext_block import make_block, make_down, make_up
from medseg.networks.per_level import spread
from medseg.networks.pyramid import find_climbs, kernel_at, make_pyramid


class MedNeXt:
    """A U-Net of large depthwise kernels and a perceptron per voxel, with shortcuts everywhere.

    Levels, strides and widths are the plan's. Kernels are ``kernel_size`` long along every axis where the
    plan has more than 1. Skips are added. The paper's sizes S, B, M and L are `mednext`, `mednext_b`,
    `mednext_m` and `mednext_l`, with ``plan.width=32`` and five levels.

    Args:
        topology: levels, strides, kernels and widths, from the plan.
        kernel_size: of the depthwise convolutions, 3, 5 or 7.
        blocks_per_level: finest first, the same down and up; the last number also counts for deeper levels.
        expansion: channels within the blocks of a level, as a multiple of its width, given likewise.
        global_response_norm: whether blocks have one (as in ConvNeXt V2, Woo 2023).

    Raises:
        UserError: for options out of range.
    """

    MODULAR: ClassVar[bool] = True
    DIMS: ClassVar[tuple[int, ...]] = (2, 3)

    def __init__(
        self,
        topology: Topology,
        *,
        kernel_size: Literal[3, 5, 7] = 3,
        blocks_per_level: Sequence[int] = (2,),
        expansion: Sequence[int] = (2,),
        global_response_norm: bool = False,
    ) -> None:
        if kernel_size not in (3, 5, 7):
            raise UserError("network.kernel_size", f"{kernel_size} is not offered", "choose 3, 5 or 7")
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, activation="gelu")
        self.kernel_size = kernel_size
        self.blocks_per_level, self.expansion = tuple(blocks_per_level), tuple(expansion)
        self._numbers(len(topology.widths))
        self.response_norm = global_response_norm

    def encoder(self, in_channels: int) -> nn.Module:
        """A convolution of the first stride as the stem, then blocks at each level, the first one strided."""
        topology, stages = self.topology, []
        counts, expansions = self._numbers(len(topology.widths))
        for level, (width, stride) in enumerate(zip(topology.widths, topology.strides, strict=True)):
            kernel, expansion = self._kernel(topology.kernels[level]), expansions[level]
            stage = nn.Sequential()
            if level == 0:
                stage.append(self.layers.make_conv(in_channels, width, stride, stride, bias=True))
            else:
                above = topology.widths[level - 1]
                stage.append(make_down(self.layers, above, width, kernel, stride, expansion=expansion))
            stage.extend(self._blocks(counts[level], width, kernel, expansion))
            stages.append(stage)
        return LevelEncoder(stages, make_pyramid(topology))

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The way up from any pyramid."""
        climbs = find_climbs(pyramid)
        counts, expansions = self._numbers(max(1, len(climbs)))
        upsamples, blocks = [], []
        for climb, count, expansion in zip(climbs, counts, expansions, strict=False):
            kernel = self._kernel(kernel_at(self.topology, climb.stride))
            upsamples.append(
                make_up(
                    self.layers,
                    climb.below,
                    climb.here,
                    kernel,
                    climb.step,
                    expansion=expansion,
                    response_norm=self.response_norm,
                )
            )
            blocks.append(nn.Sequential(*self._blocks(count, climb.here, kernel, expansion)))
        heads = make_heads(self.layers, pyramid, out_channels, deep_supervision)
        return AddingDecoder(upsamples, blocks, heads)

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        """Encoder and decoder in one."""
        encoder = self.encoder(in_channels)
        decoder = self.decoder(make_pyramid(self.topology), out_channels, deep_supervision)
        return EncoderDecoder(encoder, decoder)

    def _numbers(self, levels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Blocks and expansion of each level."""
        blocks = spread(self.blocks_per_level, levels, "network.blocks_per_level")
        return blocks, spread(self.expansion, levels, "network.expansion")

    def _kernel(self, planned: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.kernel_size if size > 1 else 1 for size in planned)

    def _blocks(self, count: int, width: int, kernel: tuple[int, ...], expansion: int) -> list[nn.Module]:
        return [
            make_block(self.layers, width, kernel, expansion=expansion, response_norm=self.response_norm)
            for _ in range(count)
        ]
