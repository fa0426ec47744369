"""The single layers that blocks are made of, for 2D and 3D, and what a user may choose of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from medseg.errors import UserError
from medseg.networks.convolution import Conv2d, Conv3d
from medseg.networks.group_norm import GroupNorm
from medseg.networks.instance_norm import InstanceNorm
from medseg.networks.transposed_convolution import ConvTranspose2d, ConvTranspose3d

Norm = Literal["instance", "batch", "group"]
Activation = Literal["leaky_relu", "relu", "gelu", "silu", "elu", "prelu"]

_CONV: dict[int, type[Conv2d] | type[Conv3d]] = {2: Conv2d, 3: Conv3d}
_TRANSPOSED: dict[int, type[ConvTranspose2d] | type[ConvTranspose3d]] = {
    2: ConvTranspose2d,
    3: ConvTranspose3d,
}
_POOL: dict[int, type[nn.AvgPool2d] | type[nn.AvgPool3d]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_MAX_POOL: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "leaky_relu": lambda channels: nn.LeakyReLU(0.01, inplace=True),
    "relu": lambda channels: nn.ReLU(inplace=True),
    "gelu": lambda channels: nn.GELU(),
    "silu": lambda channels: nn.SiLU(),
    "elu": lambda channels: nn.ELU(inplace=True),
    "prelu": nn.PReLU,
}


@dataclass(frozen=True)
class Layers:
    """Makes the layers of one network.

    Attributes:
        dims: 2 or 3.
        norm: ``instance``, ``batch`` or ``group``.
        activation: the nonlinearity; ``leaky_relu`` has slope 0.01, ``prelu`` learns one per channel.
        dropout: share of whole channels dropped after each convolution.
        groups: of a group norm; the largest common divisor with the channels is taken. ``None`` for 8
            channels per group, and one group where 8 does not divide them.

    Raises:
        UserError: for an unknown name, no group or a share outside [0, 1).
    """

    dims: int
    norm: Norm = "instance"
    activation: Activation = "leaky_relu"
    dropout: float = 0.0
    groups: int | None = None

    def __post_init__(self) -> None:
        if self.norm not in ("instance", "batch", "group"):
            raise UserError("network.norm", f"{self.norm!r} is unknown", "choose instance, batch or group")
        if self.activation not in _ACTIVATIONS:
            fix = "choose one of " + ", ".join(_ACTIVATIONS)
            raise UserError("network.activation", f"{self.activation!r} is unknown", fix)
        if self.groups is not None and self.groups < 1:
            raise UserError("network.groups", f"{self.groups} are too few", "give at least 1, or null")
        if not 0 <= self.dropout < 1:
            raise UserError("network.dropout", f"{self.dropout} is no share", "give 0 <= dropout < 1")

    def make_conv(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        *,
        bias: bool = False,
    ) -> nn.Module:
        """A convolution that keeps the size at stride 1 and divides it by the stride otherwise."""
        padding = tuple((size - 1) // 2 for size in kernel)
        return _CONV[self.dims](inputs, outputs, kernel, stride, padding, bias=bias)  # type: ignore[arg-type]

    def make_down_conv(self, inputs: int, outputs: int, stride: tuple[int, ...]) -> nn.Module:
        """A convolution that divides the size by the stride, its windows side by side."""
        return _CONV[self.dims](inputs, outputs, stride, stride, bias=False)  # type: ignore[arg-type]

    def make_transposed_conv(self, inputs: int, outputs: int, stride: tuple[int, ...]) -> nn.Module:
        """A convolution that multiplies the size by the stride, each input voxel for itself."""
        return _TRANSPOSED[self.dims](inputs, outputs, stride, stride, bias=False)  # type: ignore[arg-type]

    def make_overlapping_conv(self, inputs: int, outputs: int, stride: tuple[int, ...]) -> nn.Module:
        """A convolution that multiplies the size by the stride, its windows overlapping."""
        kernel = tuple(2 * step - 1 for step in stride)
        padding = tuple(step // 2 for step in stride)
        more = tuple(1 - step % 2 for step in stride)
        made = _TRANSPOSED[self.dims]
        return made(inputs, outputs, kernel, stride, padding, more, bias=False)  # type: ignore[arg-type]

    def make_pool(self, stride: tuple[int, ...]) -> nn.Module:
        """The mean of each stride-sized box."""
        return _POOL[self.dims](stride, stride)  # type: ignore[arg-type]

    def make_max_pool(self, stride: tuple[int, ...]) -> nn.Module:
        """The maximum of each stride-sized box."""
        return _MAX_POOL[self.dims](stride, stride)

    def make_norm(self, channels: int) -> nn.Module:
        """The normalisation, with a learned scale and shift per channel."""
        if self.norm == "instance":
            return InstanceNorm(channels)
        if self.norm == "batch":
            return nn.BatchNorm2d(channels) if self.dims == 2 else nn.BatchNorm3d(channels)
        if self.groups is not None:
            return GroupNorm(math.gcd(self.groups, channels), channels)
        return GroupNorm(max(1, channels // 8) if channels % 8 == 0 else 1, channels)

    def make_activation(self, channels: int = 1) -> nn.Module:
        """The nonlinearity for ``channels`` features; in place where the gradient allows it."""
        return _ACTIVATIONS[self.activation](channels)

    def make_dropout(self) -> list[nn.Module]:
        """Channel dropout, or nothing where its share is zero."""
        if self.dropout == 0:
            return []
        return [nn.Dropout2d(self.dropout) if self.dims == 2 else nn.Dropout3d(self.dropout)]
