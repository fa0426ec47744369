"""The single layers that blocks are made of, for 2D and 3D, and what a user may choose of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from medseg.errors import UserError
from medseg.networks.convolution import Conv2d, Conv3d
from medseg.networks.instance_norm import InstanceNorm

Norm = Literal["instance", "batch", "group"]
Activation = Literal["leaky_relu", "relu", "gelu", "silu"]

_CONV: dict[int, type[Conv2d] | type[Conv3d]] = {2: Conv2d, 3: Conv3d}
_TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_POOL: dict[int, type[nn.AvgPool2d] | type[nn.AvgPool3d]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


@dataclass(frozen=True)
class Layers:
    """Makes the layers of one network.

    Attributes:
        dims: 2 or 3.
        norm: ``instance``, ``batch`` or ``group`` (8 channels per group, fewer where they do not divide).
        activation: the nonlinearity; ``leaky_relu`` has slope 0.01.
        dropout: share of whole channels dropped after each convolution.

    Raises:
        UserError: for an unknown name or a share outside [0, 1).
    """

    dims: int
    norm: Norm = "instance"
    activation: Activation = "leaky_relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.norm not in ("instance", "batch", "group"):
            raise UserError("network.norm", f"{self.norm!r} is unknown", "choose instance, batch or group")
        if self.activation not in ("leaky_relu", "relu", "gelu", "silu"):
            fix = "choose leaky_relu, relu, gelu or silu"
            raise UserError("network.activation", f"{self.activation!r} is unknown", fix)
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

    def make_transposed_conv(self, inputs: int, outputs: int, stride: tuple[int, ...]) -> nn.Module:
        """A convolution that multiplies the size by the stride, each input voxel for itself."""
        return _TRANSPOSED[self.dims](inputs, outputs, stride, stride, bias=False)  # type: ignore[arg-type]

    def make_pool(self, stride: tuple[int, ...]) -> nn.Module:
        """The mean of each stride-sized box."""
        return _POOL[self.dims](stride, stride)  # type: ignore[arg-type]

    def make_norm(self, channels: int) -> nn.Module:
        """The normalisation, with a learned scale and shift per channel."""
        if self.norm == "instance":
            return InstanceNorm(channels)
        if self.norm == "batch":
            return nn.BatchNorm2d(channels) if self.dims == 2 else nn.BatchNorm3d(channels)
        return nn.GroupNorm(max(1, channels // 8) if channels % 8 == 0 else 1, channels)

    def make_activation(self) -> nn.Module:
        """The nonlinearity; in place where the gradient allows it."""
        if self.activation == "leaky_relu":
            return nn.LeakyReLU(0.01, inplace=True)
        if self.activation == "relu":
            return nn.ReLU(inplace=True)
        return nn.GELU() if self.activation == "gelu" else nn.SiLU()

    def make_dropout(self) -> list[nn.Module]:
        """Channel dropout, or nothing where its share is zero."""
        if self.dropout == 0:
            return []
        return [nn.Dropout2d(self.dropout) if self.dims == 2 else nn.Dropout3d(self.dropout)]
