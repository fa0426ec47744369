"""V-Net's way up: twice as wide as the way down, residual over what was joined."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from medseg.contracts import Pyramid, Topology
from medseg.networks.conv_block import make_conv_block
from medseg.networks.layers import Layers
from medseg.networks.per_level import spread
from medseg.networks.pyramid import find_climbs, kernel_at
from medseg.networks.skip_decoder import SkipDecoder, count_heads
from medseg.networks.vnet_blocks import ResidualConvs


class VNetDecoder(SkipDecoder):
    """Decodes any pyramid; each level keeps what it has enlarged beside the skip, never narrowed.

    The finest head convolves to the classes before its 1x1 convolution, as the original's. That first
    convolution is normalised with a batch norm only: norms per case would take the amount of foreground away.

    Args:
        pyramid: what the encoder publishes.
        topology: where the kernel sizes come from.
        out_channels: ``K``.
        deep_supervision: whether training gets coarser logits too.
        layers: which layers to use; dropout also falls on the skips.
        convs_per_level: convolutions after each join, finest first, the last for all deeper ones.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        topology: Topology,
        out_channels: int,
        deep_supervision: bool,
        *,
        layers: Layers,
        convs_per_level: tuple[int, ...],
    ) -> None:
        climbs, ones = find_climbs(pyramid), (1,) * pyramid.spatial_dims
        repeats = spread(convs_per_level, len(climbs) or 1, "network.decoder_convs")
        kernels = [kernel_at(topology, c.stride) for c in climbs] or [topology.kernels[0]]
        made = [c.here + c.skip for c in climbs] + [pyramid.channels[-1]]  # finest first, then the deepest
        heads = count_heads(len(climbs), deep_supervision)
        super().__init__(
            [_make_upsample(layers, w, c.here, c.step) for c, w in zip(climbs, made[1:], strict=True)],
            [
                ResidualConvs(replace(layers, dropout=0.0), w, k, n)
                for w, k, n in zip(made, kernels, repeats, strict=False)
                if climbs
            ],
            [
                _make_finest_head(layers, made[0], out_channels, kernels[0]),
                *(layers.make_conv(w, out_channels, ones, ones, bias=True) for w in made[1:heads]),
            ],
        )
        self.dropout = nn.Sequential(*layers.make_dropout())

    def join(self, level: int, enlarged: Tensor, skip: Tensor, below: Tensor) -> Tensor:
        """The enlarged features beside the skip."""
        del level, below
        return torch.cat((enlarged, self.dropout(skip)), dim=1)


def _make_upsample(layers: Layers, inputs: int, outputs: int, step: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(
        *layers.make_dropout(),
        layers.make_transposed_conv(inputs, outputs, step),
        layers.make_norm(outputs),
        layers.make_activation(outputs),
    )


def _make_finest_head(layers: Layers, inputs: int, outputs: int, kernel: tuple[int, ...]) -> nn.Sequential:
    ones = (1,) * layers.dims
    if layers.norm == "batch":
        first = make_conv_block(replace(layers, dropout=0.0), inputs, outputs, kernel, repeats=1)
    else:
        conv = layers.make_conv(inputs, outputs, kernel, ones, bias=True)
        first = nn.Sequential(conv, layers.make_activation(outputs))
    return nn.Sequential(*first, layers.make_conv(outputs, outputs, ones, ones, bias=True))
