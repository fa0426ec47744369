"""Uniform cubic B-splines: smooth displacement fields from few control points (Rueckert et al. 1999)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def control_points(voxels: int, interval: float) -> int:
    """How many control points an axis of ``voxels`` needs if they are ``interval`` voxels apart."""
    return math.floor((voxels - 1) / interval) + 4


def weights(voxels: int, interval: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where the displacement of each voxel of an axis comes from.

    Returns:
        ``first`` ``(voxels,)`` and ``weight`` ``(voxels, 4)``: voxel x is moved by the sum over k of
        ``weight[x, k] * control[first[x] + k]``.
    """
    position = np.arange(voxels) / interval
    first = np.floor(position).astype(np.int64)
    t = position - first
    weight = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1)
    return first, (weight / 6).astype(np.float32)


def matrix(voxels: int, interval: float) -> NDArray[np.float32]:
    """The same weights as one ``(voxels, control_points)`` matrix."""
    first, weight = weights(voxels, interval)
    dense = np.zeros((voxels, control_points(voxels, interval)), np.float32)
    np.put_along_axis(dense, first[:, None] + np.arange(4), weight, axis=1)
    return dense
