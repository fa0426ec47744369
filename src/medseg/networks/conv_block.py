"""Convolution, dropout, normalisation, activation, repeated: the plain block of a U-Net."""

from __future__ import annotations

from torch import nn

from medseg.errors import UserError
from medseg.networks.layers import Layers


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
                layers.make_activation(),
            ]
        )
    return block
