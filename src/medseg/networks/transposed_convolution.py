"""Transposed convolutions whose gradient can be trusted on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.convolution import miscomputed
from medseg.networks.memory_layout import exporting

_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


class ConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d``, in a precision that gives the right gradient: see `precision_of`."""

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``(B, inputs, W, H)`` -> ``(B, outputs, *)``, of ``output_size`` where one is asked for."""
        length = (features.shape[2] - 1) * self.stride[0] + 1
        precision = precision_of(features, length, self.kernel_size, self.stride)
        if precision is not None:
            return _computed(self, features, output_size, precision)
        return super().forward(features, output_size)


class ConvTranspose3d(nn.ConvTranspose3d):
    """``nn.ConvTranspose3d``, in a precision that gives the right gradient: see `precision_of`."""

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``(B, inputs, W, H, D)`` -> ``(B, outputs, *)``, of ``output_size`` where one is asked for."""
        length = (features.shape[2] - 1) * self.stride[0] + 1
        precision = precision_of(features, length, self.kernel_size, self.stride)
        if precision is not None:
            return _computed(self, features, output_size, precision)
        return super().forward(features, output_size)


def precision_of(
    features: Tensor, length: int, kernel: tuple[int, ...], stride: tuple[int, ...]
) -> torch.dtype | None:
    """The precision to compute in where the features' own would give wrong gradients of the weights.

    Beside what `miscomputed` knows, oneDNN's 3D kernels of 7 and more with a stride write outside of their
    memory, in float32 too, where the first axis is no longer than the kernel (seen with PyTorch 2.15; at a
    stride of 2 and 7 voxels the gradient is wrong and the heap broken). Doubles do not go through oneDNN.

    Args:
        features: what the convolution gets.
        length: of the first axis, on the larger side of the convolution.
        kernel: its size per axis.
        stride: its stride per axis.
    """
    if len(kernel) == 3 and kernel[0] > 5 and stride[0] > 1 and length <= kernel[0]:
        trained = torch.is_grad_enabled() and features.device.type == "cpu"
        if trained and features.dtype != torch.float64 and not exporting():
            return torch.float64
    return torch.float32 if miscomputed(features, kernel) else None


def _computed(
    convolution: nn.ConvTranspose2d | nn.ConvTranspose3d,
    features: Tensor,
    output_size: list[int] | None,
    precision: torch.dtype,
) -> Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype
    bias = None if convolution.bias is None else convolution.bias.to(precision)
    dims = len(convolution.kernel_size)
    stride, padding, dilation = convolution.stride, convolution.padding, convolution.dilation
    extra = convolution._output_padding(
        features,
        output_size,
        list(stride),
        padding,  # type: ignore[arg-type]
        list(convolution.kernel_size),
        dims,
        list(dilation),
    )
    with torch.autocast("cpu", enabled=False):
        out = _TRANSPOSED[dims](
            features.to(precision),
            convolution.weight.to(precision),
            bias,
            stride,
            padding,
            extra,
            convolution.groups,
            dilation,
        )
    return out.to(dtype)
