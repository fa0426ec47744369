"""The inverted residual block (Sandler 2018, MobileNetV2): widen, convolve each channel, narrow."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.depthwise_conv import make_depthwise
from medseg.networks.layers import Layers


class InvertedResidual(nn.Module):
    """1x1 to more channels, a depthwise convolution, 1x1 to few again, which have no activation.

    A shortcut is added where sizes and channels stay. An expansion of 1 leaves the first step out: what
    is left is a depthwise separable convolution.

    Args:
        layers: which layers to use.
        inputs: channels in.
        outputs: channels out.
        kernel: size per axis, odd.
        stride: of the depthwise convolution.
        expansion: channels between, as a multiple of ``inputs``.
    """

    def __init__(
        self,
        layers: Layers,
        inputs: int,
        outputs: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        *,
        expansion: int,
    ) -> None:
        super().__init__()
        ones, middle = (1,) * layers.dims, expansion * inputs
        self.body = nn.Sequential()
        if expansion > 1:
            self.body.extend(
                [
                    layers.make_conv(inputs, middle, ones, ones),
                    layers.make_norm(middle),
                    layers.make_activation(),
                ]
            )
        self.body.extend(
            [
                make_depthwise(layers.dims, middle, kernel, stride, bias=False),
                layers.make_norm(middle),
                layers.make_activation(),
                layers.make_conv(middle, outputs, ones, ones),
                layers.make_norm(outputs),
            ]
        )
        self.shortcut = inputs == outputs and stride == ones

    def forward(self, features: Tensor) -> Tensor:
        """``(B, inputs, *S)`` -> ``(B, outputs, *S / stride)``."""
        out: Tensor = self.body(features)
        return features + out if self.shortcut else out
