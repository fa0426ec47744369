"""Convolutions whose gradient can be trusted in bfloat16 on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.memory_layout import exporting


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``, in float32 where `miscomputed` says so."""

    def forward(self, features: Tensor) -> Tensor:
        """``(B, inputs, W, H)`` -> ``(B, outputs, W / stride, H / stride)``."""
        if miscomputed(features, self.kernel_size):
            return _in_float32(self, features)
        return super().forward(features)


class Conv3d(nn.Conv3d):
    """``nn.Conv3d``, in float32 where `miscomputed` says so."""

    def forward(self, features: Tensor) -> Tensor:
        """``(B, inputs, W, H, D)`` -> ``(B, outputs, W / stride, H / stride, D / stride)``."""
        if miscomputed(features, self.kernel_size):
            return _in_float32(self, features)
        return super().forward(features)


def miscomputed(features: Tensor, kernel: tuple[int, ...]) -> bool:
    """Whether the weights' gradient would come out wrong: features smaller than the kernel, in bfloat16.

    oneDNN's AVX-512 bfloat16 kernel then reads memory that was never written (seen with PyTorch 2.15 in
    3D; sizes 1 and 2 under a kernel of 3, up to 4 under 5). So small a convolution costs nothing in float32.
    """
    if exporting() or features.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    low = features.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")
    return low and any(size < width for size, width in zip(features.shape[2:], kernel, strict=True))


def _in_float32(convolution: nn.Conv2d | nn.Conv3d, features: Tensor) -> Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype
    bias = None if convolution.bias is None else convolution.bias.float()
    with torch.autocast("cpu", enabled=False):
        out: Tensor = convolution._conv_forward(features.float(), convolution.weight.float(), bias)
    return out.to(dtype)
