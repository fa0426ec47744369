"""Convolutions of each channel by itself (Chollet 2017, Xception), plain, strided and transposed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.convolution import Conv2d, Conv3d
from medseg.networks.transposed_convolution import ConvTranspose2d, ConvTranspose3d, precision_of


def make_depthwise(
    dims: int, channels: int, kernel: tuple[int, ...], stride: tuple[int, ...], *, bias: bool
) -> nn.Module:
    """``(B, channels, *S)`` -> ``(B, channels, *S / stride)``; kernels are odd."""
    make = Conv2d if dims == 2 else DepthwiseConv3d
    padding = tuple(size // 2 for size in kernel)
    return make(channels, channels, kernel, stride, padding, groups=channels, bias=bias)  # type: ignore[arg-type]


def make_depthwise_transposed(
    dims: int, channels: int, kernel: tuple[int, ...], stride: tuple[int, ...]
) -> nn.Module:
    """``(B, channels, *S)`` -> ``(B, channels, *(S - 1) * stride + 1)``; kernels are odd."""
    make = ConvTranspose2d if dims == 2 else ConvTranspose3d
    padding = tuple(size // 2 for size in kernel)
    return make(channels, channels, kernel, stride, padding, groups=channels)  # type: ignore[arg-type]


class DepthwiseConv3d(Conv3d):
    """`Conv3d`, in double precision where `precision_of` says so."""

    def forward(self, features: Tensor) -> Tensor:
        """``(B, channels, W, H, D)`` -> ``(B, channels, W / stride, H / stride, D / stride)``."""
        precision = precision_of(features, features.shape[2], self.kernel_size, self.stride)
        if precision != torch.float64:
            return super().forward(features)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype
        bias = None if self.bias is None else self.bias.double()
        with torch.autocast("cpu", enabled=False):
            out: Tensor = self._conv_forward(features.double(), self.weight.double(), bias)
        return out.to(dtype)
