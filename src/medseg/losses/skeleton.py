"""Soft skeletons (Shit 2021): centre lines of grey masks, made of erosions and dilations alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional


def soft_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """What openings take away from a mask that is eroded step by step.

    Args:
        mask: ``(B, K, *S)`` in [0, 1], 2D or 3D.
        iterations: erosions; as many as the widest structure has voxels of radius.

    Returns:
        ``(B, K, *S)`` in [0, 1].
    """
    skeleton: Tensor | None = None
    for _ in range(iterations + 1):
        eroded = _erode(mask)
        ridge = functional.relu(mask - _dilate(eroded))
        skeleton = ridge if skeleton is None else skeleton + functional.relu(ridge - skeleton * ridge)
        mask = eroded
    assert skeleton is not None
    return skeleton


def _erode(mask: Tensor) -> Tensor:
    """The least of each voxel and its face neighbours; outside the patch there is nothing to erode from."""
    axes = range(2, mask.ndim)
    return reduce(torch.minimum, [_along(mask, axis, torch.minimum) for axis in axes])


def _dilate(mask: Tensor) -> Tensor:
    """The largest of each voxel and all its neighbours, corners too."""
    for axis in range(2, mask.ndim):
        mask = _along(mask, axis, torch.maximum)
    return mask


def _along(mask: Tensor, axis: int, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Of each voxel and its two neighbours along an axis; many times faster on a CPU than max pooling."""
    size = mask.shape[axis]
    if size == 1:
        return mask
    pairs = pick(mask.narrow(axis, 0, size - 1), mask.narrow(axis, 1, size - 1))
    inner = pick(pairs.narrow(axis, 0, size - 2), pairs.narrow(axis, 1, size - 2))
    return torch.cat([pairs.narrow(axis, 0, 1), inner, pairs.narrow(axis, size - 2, 1)], axis)
