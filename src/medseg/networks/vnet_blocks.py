"""The stages of V-Net (Milletari 2016): convolutions whose input is added to their output."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from medseg.networks.conv_block import make_conv_block
from medseg.networks.layers import Layers


class InputStage(nn.Module):
    """The first stage; what is added is the image, its channels repeated to the width.

    Where the width is no multiple of the modalities, the last repetition is cut.

    Args:
        layers: which layers to use.
        inputs: modalities.
        outputs: channels out.
        kernel: size per axis, odd.
        repeats: convolutions; the last is activated after the sum.
    """

    def __init__(
        self, layers: Layers, inputs: int, outputs: int, kernel: tuple[int, ...], repeats: int
    ) -> None:
        super().__init__()
        plain = replace(layers, dropout=0.0)
        self.convs = make_conv_block(plain, inputs, outputs, kernel, repeats=repeats)[:-1]
        self.activation = layers.make_activation(outputs)
        self.outputs, self.copies = outputs, -(-outputs // inputs)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, inputs, *S)`` -> ``(B, outputs, *S)``."""
        repeated = torch.cat([image] * self.copies, dim=1)[:, : self.outputs]
        out: Tensor = self.activation(self.convs(image) + repeated)
        return out


class ResidualConvs(nn.Module):
    """Convolutions of one width, their input added, then the activation.

    Args:
        layers: which layers to use; dropout comes before the convolutions.
        channels: in and out.
        kernel: size per axis, odd.
        repeats: convolutions.
    """

    def __init__(self, layers: Layers, channels: int, kernel: tuple[int, ...], repeats: int) -> None:
        super().__init__()
        plain = replace(layers, dropout=0.0)
        self.dropout = nn.Sequential(*layers.make_dropout())
        self.convs = make_conv_block(plain, channels, channels, kernel, repeats=repeats)
        self.activation = layers.make_activation(channels)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, channels, *S)`` -> the same shape."""
        out: Tensor = self.activation(self.convs(self.dropout(features)) + features)
        return out


def make_down_stage(
    layers: Layers, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...], repeats: int
) -> nn.Sequential:
    """``(B, inputs, *S)`` -> ``(B, outputs, *S / stride)`` by one convolution, then residual ones."""
    return nn.Sequential(
        layers.make_down_conv(inputs, outputs, stride),
        layers.make_norm(outputs),
        layers.make_activation(outputs),
        ResidualConvs(layers, outputs, kernel, repeats),
    )
