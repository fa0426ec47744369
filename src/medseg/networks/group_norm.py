"""Group normalisation (Wu 2018) that is quick and exact on CPUs in either memory layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from medseg.networks.memory_layout import channels_last, exporting


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``; the same numbers with channels innermost on a CPU, where PyTorch's own loses them.

    There its variance is the difference of two large sums (wrong from the third digit on where a mean is
    300 deviations), and its gradient takes several times as long. Statistics and scaling by the batch
    norm kernels, per sample, have neither fault.
    """

    def forward(self, features: Tensor) -> Tensor:
        """``(B, C, *S)`` -> the same shape."""
        if features.device.type == "cpu" and not exporting() and channels_last(features):
            normalised: Tensor = _NormPerSample.apply(
                features, self.num_groups, self.weight, self.bias, self.eps
            )
            return normalised
        return torch.group_norm(features, self.num_groups, self.weight, self.bias, self.eps)


class _NormPerSample(torch.autograd.Function):
    """Groups put together from the statistics of their channels, one sample after the other."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        normalised = torch.empty_like(features)
        exact = torch.promote_types(features.dtype, torch.float32)
        means = torch.empty(features.shape[:2], dtype=exact)
        variances = torch.empty_like(means)
        weight, bias = weight.to(exact), bias.to(exact)
        for i in range(features.shape[0]):
            x, unused = features[i : i + 1], torch.zeros_like(weight)
            # running statistics, though unused, make the kernel add up in their precision
            mean, variance = torch.ops.aten.batch_norm_update_stats(x, unused, unused.clone(), 0.0)
            means[i], variances[i] = _joined(mean, variance, groups)
            torch.ops.aten.native_batch_norm.out(
                x, weight, bias, means[i], variances[i], False, 0.0, eps,
                out=normalised[i : i + 1], save_mean=weight.new_empty(0), save_invstd=weight.new_empty(0),
            )  # fmt: skip
        ctx.save_for_backward(features, weight, means, variances)
        ctx.groups, ctx.eps = groups, eps
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
        features, weight, means, variances = ctx.saved_tensors
        count = features[0, 0].numel() * features.shape[1] // ctx.groups
        shape = (1, -1, *(1,) * (features.ndim - 2))
        to_features = torch.empty_like(features)
        to_weight, to_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        rstd = (variances + ctx.eps).rsqrt()
        for i in range(features.shape[0]):
            x = features[i : i + 1]
            scaled, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                gradient[i : i + 1], x, weight, means[i], variances[i], None, None, False, ctx.eps, [True] * 3
            )
            # what the group's mean and variance pass on, a straight line in x per channel
            slope = _summed(weight * of_weight, ctx.groups) / count * rstd[i] ** 2
            offset = _summed(weight * of_bias, ctx.groups) / count * rstd[i] - slope * means[i]
            to_features[i : i + 1] = scaled - torch.addcmul(offset.view(shape), x, slope.view(shape))
            to_weight += of_weight
            to_bias += of_bias
        return to_features, None, to_weight, to_bias, None


def _joined(mean: Tensor, variance: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel's group, from those of the channels alone."""
    between, middle = torch.var_mean(mean.view(groups, -1), dim=1, correction=0)
    within = variance.view(groups, -1).mean(dim=1)
    size = mean.numel() // groups
    return middle.repeat_interleave(size), (within + between).repeat_interleave(size)


def _summed(values: Tensor, groups: int) -> Tensor:
    """Per channel the sum over its group."""
    return values.view(groups, -1).sum(dim=1).repeat_interleave(values.numel() // groups)
