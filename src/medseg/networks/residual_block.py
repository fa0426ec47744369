"""The basic residual block (He 2016) in the form that nnU-Net's residual encoders use."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from medseg.networks.layers import Layers


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut that pools by the stride and projects by 1x1.

    Isensee 2024, "nnU-Net Revisited"; the shortcut pools as in ResNet-D (He 2019).

    Args:
        layers: which layers to use.
        inputs: channels in.
        outputs: channels out.
        kernel: size per axis, odd.
        stride: of the first convolution.
    """

    def __init__(
        self, layers: Layers, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        ones = (1,) * layers.dims
        self.body = nn.Sequential(
            layers.make_conv(inputs, outputs, kernel, stride),
            *layers.make_dropout(),
            layers.make_norm(outputs),
            layers.make_activation(outputs),
            layers.make_conv(outputs, outputs, kernel, ones),
            layers.make_norm(outputs),
        )
        shortcut: list[nn.Module] = []
        if any(step > 1 for step in stride):
            shortcut.append(layers.make_pool(stride))
        if inputs != outputs:
            shortcut += [layers.make_conv(inputs, outputs, ones, ones), layers.make_norm(outputs)]
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = layers.make_activation(outputs)

    def silence(self) -> None:
        """Lets the body add nothing for a start: the scale of its last norm is zero."""
        nn.init.zeros_(cast("nn.Parameter", self.body[-1].weight))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, inputs, *S)`` -> ``(B, outputs, *S / stride)``."""
        out: Tensor = self.activation(self.body(features) + self.shortcut(features))
        return out
