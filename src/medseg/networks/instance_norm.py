"""Instance normalisation (Ulyanov 2016) that is quick and exact on CPUs in either memory layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from medseg.networks.memory_layout import channels_last, exporting


class InstanceNorm(nn.Module):
    """Zero mean and unit variance per sample and channel, then a learned scale and shift.

    Equal to ``nn.InstanceNorm2d/3d(channels, affine=True)`` for ``(B, C, *S)`` of any ``S``. PyTorch's
    own repeats the parameters and copies channels-last features; a group norm of one channel per group
    gives the same numbers in half the time. With channels innermost on a CPU that kernel's variance
    suffers from cancellation and its gradient is slow, so there a batch norm per sample is used.

    Args:
        channels: ``C``.
        eps: added to the variance.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels = channels
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, C, *S)`` -> the same shape."""
        if features.device.type == "cpu" and not exporting() and channels_last(features):
            normalised: Tensor = _NormPerSample.apply(features, self.weight, self.bias, self.eps)
            return normalised
        return torch.group_norm(features, self.channels, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{self.channels}, eps={self.eps}"


class _NormPerSample(torch.autograd.Function):
    """PyTorch's batch norm kernels on one sample after the other, without joining the results."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        normalised = torch.empty_like(features)
        mean = weight.new_empty(features.shape[:2])
        rstd = torch.empty_like(mean)
        for i in range(features.shape[0]):
            torch.ops.aten.native_batch_norm.out(
                features[i : i + 1], weight, bias, None, None, True, 0.0, eps,
                out=normalised[i : i + 1], save_mean=mean[i], save_invstd=rstd[i],
            )  # fmt: skip
        ctx.save_for_backward(features, weight, mean, rstd)
        ctx.eps = eps
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, mean, rstd = ctx.saved_tensors
        to_features = torch.empty_like(features)
        to_weight, to_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        for i in range(features.shape[0]):
            found = torch.ops.aten.native_batch_norm_backward(
                gradient[i : i + 1], features[i : i + 1], weight, None, None,
                mean[i], rstd[i], True, ctx.eps, [True, True, True],
            )  # fmt: skip
            to_features[i : i + 1].copy_(found[0])
            to_weight += found[1]
            to_bias += found[2]
        return to_features, to_weight, to_bias, None
