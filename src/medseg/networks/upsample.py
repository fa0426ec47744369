"""From a coarse level up to the next finer one."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import UserError
from medseg.networks.layers import Layers

Upsampling = Literal["transposed", "overlapping", "linear"]


class LinearUpsample(nn.Module):
    """A 1x1 convolution, then linear interpolation: no checkerboard, fewer parameters.

    Args:
        layers: which layers to use.
        inputs: channels in.
        outputs: channels out.
        stride: how many times larger each axis becomes.
    """

    def __init__(self, layers: Layers, inputs: int, outputs: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.project = layers.make_conv(inputs, outputs, (1,) * layers.dims, (1,) * layers.dims)
        self.scale = [float(step) for step in stride]
        self.mode = "bilinear" if layers.dims == 2 else "trilinear"

    def forward(self, features: Tensor) -> Tensor:
        """``(B, inputs, *S)`` -> ``(B, outputs, *S * stride)``."""
        return functional.interpolate(
            self.project(features), scale_factor=self.scale, mode=self.mode, align_corners=False
        )


def make_upsample(
    kind: Upsampling, layers: Layers, inputs: int, outputs: int, stride: tuple[int, ...]
) -> nn.Module:
    """``(B, inputs, *S)`` -> ``(B, outputs, *S * stride)``.

    Args:
        kind: ``transposed`` (learned, voxel by voxel), ``overlapping`` (learned over the neighbours, then
            norm and activation) or ``linear`` (1x1 convolution, then interpolation).
        layers: which layers to use.
        inputs: channels in.
        outputs: channels out.
        stride: how many times larger each axis becomes.

    Raises:
        UserError: for an unknown kind.
    """
    if kind == "transposed":
        return layers.make_transposed_conv(inputs, outputs, stride)
    if kind == "overlapping":
        return nn.Sequential(
            layers.make_overlapping_conv(inputs, outputs, stride),
            layers.make_norm(outputs),
            layers.make_activation(outputs),
        )
    if kind == "linear":
        return LinearUpsample(layers, inputs, outputs, stride)
    raise UserError("network.upsampling", f"{kind!r} is unknown", "choose transposed, overlapping or linear")
