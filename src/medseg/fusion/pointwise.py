"""Convolutions that look at one voxel at a time."""

from __future__ import annotations

import torch
from torch import nn

_CONV: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


def make_pointwise(inputs: int, outputs: int, dims: int, *, bias: bool = False) -> nn.Conv2d | nn.Conv3d:
    """``(B, inputs, *S)`` -> ``(B, outputs, *S)`` in ``dims`` dimensions, each voxel for itself."""
    return _CONV[dims](inputs, outputs, 1, bias=bias)


def start_as_sum(conv: nn.Conv2d | nn.Conv3d, shares: list[float]) -> None:
    """Sets a pointwise convolution of stacked groups of channels to the sum of the groups, so weighted."""
    identity = torch.eye(conv.out_channels)
    weight = torch.cat([share * identity for share in shares], dim=1)
    with torch.no_grad():
        conv.weight.copy_(weight.reshape(conv.weight.shape))
