"""Convolution, dropout, normalisation, activation, repeated: the plain block of a U-Net, and its stages."""

from __future__ import annotations

from typing import Literal

from torch import nn

from medseg.contracts import Topology
from medseg.errors import UserError
from medseg.networks.layers import Layers

Downsampling = Literal["strided", "max_pool"]


def make_conv_block(
    layers: Layers,
    inputs: int,
    outputs: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    *,
    repeats: int = 2,
) -> nn.Sequential:
    """``(B, inputs, *S)`` -> ``(B, outputs, *S / stride)``.

    Convolutions have no bias: the normalisation that follows would take it away again.

    Args:
        layers: which layers to use.
        inputs: channels in.
        outputs: channels out.
        kernel: size per axis, odd.
        stride: of the first convolution.
        repeats: how many convolutions.

    Raises:
        UserError: for no convolution at all.
    """
    if repeats < 1:
        raise UserError("network", f"{repeats} convolutions at a level", "give at least 1")
    ones = (1,) * layers.dims
    block = nn.Sequential()
    for i in range(repeats):
        block.extend(
            [
                layers.make_conv(
                    inputs if i == 0 else outputs, outputs, kernel, (stride or ones) if i == 0 else ones
                ),
                *layers.make_dropout(),
                layers.make_norm(outputs),
                layers.make_activation(outputs),
            ]
        )
    return block


def make_conv_stages(
    layers: Layers, topology: Topology, in_channels: int, *, repeats: int, downsampling: Downsampling
) -> list[nn.Module]:
    """The stages of a plain encoder: a block per level, that makes its step by stride or after a pooling.

    Args:
        layers: which layers to use.
        topology: levels, strides, kernels and widths.
        in_channels: modalities.
        repeats: convolutions at each level.
        downsampling: ``strided`` (the first convolution's) or ``max_pool`` (before it).

    Raises:
        UserError: for an unknown downsampling.
    """
    if downsampling not in ("strided", "max_pool"):
        raise UserError("network.downsampling", f"{downsampling!r} is unknown", "choose strided or max_pool")
    stages: list[nn.Module] = []
    ones = (1,) * layers.dims
    for width, kernel, stride in zip(topology.widths, topology.kernels, topology.strides, strict=True):
        pooled = downsampling == "max_pool" and stride != ones
        block = make_conv_block(
            layers, in_channels, width, kernel, ones if pooled else stride, repeats=repeats
        )
        stages.append(nn.Sequential(layers.make_max_pool(stride), *block) if pooled else block)
        in_channels = width
    return stages
