"""The residual block with norm and activation before each convolution (He 2016, "Identity Mappings")."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.layers import Layers


class PreactivationBlock(nn.Module):
    """Norm, activation and convolution, twice; the input is added untouched.

    Args:
        layers: which layers to use.
        channels: in and out.
        kernel: size per axis, odd.
    """

    def __init__(self, layers: Layers, channels: int, kernel: tuple[int, ...]) -> None:
        super().__init__()
        ones = (1,) * layers.dims
        self.body = nn.Sequential()
        for _ in range(2):
            self.body.extend(
                [
                    layers.make_norm(channels),
                    layers.make_activation(channels),
                    layers.make_conv(channels, channels, kernel, ones),
                ]
            )

    def forward(self, features: Tensor) -> Tensor:
        """``(B, channels, *S)`` -> the same shape."""
        out: Tensor = features + self.body(features)
        return out
