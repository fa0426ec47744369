"""How deep a network is and where it pools, by nnU-Net's rule (Isensee et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SMALLEST_FEATURE_MAP = 4
"""Voxels per axis that pooling must leave."""


@dataclass(frozen=True)
class PyramidShape:
    """A patch size with the pyramid that fits it; see `medseg.contracts.Topology`."""

    patch_size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]


def pyramid(patch_size: Sequence[int], spacing: Sequence[float], max_levels: int | None) -> PyramidShape:
    """Pools each axis while it has 8 voxels or more and is not coarser than twice the finest axis.

    Kernels are 1 on an axis as long as it is coarser than that, then 3 on this and all deeper levels.

    Args:
        patch_size: voxels per axis.
        spacing: mm per voxel, as long as ``patch_size``.
        max_levels: levels at most; ``None`` for as many as fit.
    """
    size, step = [float(n) for n in patch_size], [float(s) for s in spacing]
    dims = range(len(size))
    strides, kernels = [tuple(1 for _ in dims)], []
    kernel = [1] * len(size)
    while True:
        kernel = [3 if kernel[a] == 3 or step[a] < 2 * min(step) else 1 for a in dims]
        kernels.append(tuple(kernel))
        pooled = _axes_to_pool(size, step)
        if not pooled or (max_levels is not None and len(strides) >= max_levels):
            break
        strides.append(tuple(2 if a in pooled else 1 for a in dims))
        for axis in pooled:
            size[axis], step[axis] = math.ceil(size[axis] / 2), step[axis] * 2
    if len(kernels) > 1:
        kernels[-1] = tuple(3 for _ in dims)  # the deepest level sees everything that is left
    return PyramidShape(tuple(map(int, patch_size)), tuple(strides), tuple(kernels))


def _axes_to_pool(size: Sequence[float], step: Sequence[float]) -> list[int]:
    large = [a for a in range(len(size)) if size[a] >= 2 * SMALLEST_FEATURE_MAP]
    if not large:
        return []
    finest = min(step[a] for a in large)
    pooled = [a for a in large if step[a] < 2 * finest]
    # A single axis is pooled only while it is really long: else the patch shrinks to a needle.
    if len(pooled) == 1 and size[pooled[0]] < 3 * SMALLEST_FEATURE_MAP:
        return []
    return pooled


def divisor(strides: Sequence[Sequence[int]], multiple: int = 1) -> tuple[int, ...]:
    """Per axis what a patch must be a multiple of: of the strides, and of what a network asks for besides."""
    return tuple(math.lcm(math.prod(axis), multiple) for axis in zip(*strides, strict=True))


def nearest_legal(
    patch_size: Sequence[int], strides: Sequence[Sequence[int]], multiple: int = 1
) -> tuple[int, ...]:
    """The nearest patch size (the larger of two) that the divisor divides."""
    return tuple(
        max(d, math.floor(n / d + 0.5) * d)
        for n, d in zip(patch_size, divisor(strides, multiple), strict=True)
    )


def legal_pyramid(
    wanted: Sequence[int], spacing: Sequence[float], max_levels: int | None, multiple: int = 1
) -> PyramidShape:
    """The pyramid of the smallest legal patch that covers ``wanted`` voxels per axis."""
    shape = pyramid(wanted, spacing, max_levels)
    while True:
        step = divisor(shape.strides, multiple)
        patch = tuple(math.ceil(n / d) * d for n, d in zip(shape.patch_size, step, strict=True))
        grown = pyramid(patch, spacing, max_levels)
        if grown.patch_size == shape.patch_size:
            return grown
        shape = grown


def widths(levels: int, width: int, max_width: int) -> tuple[int, ...]:
    """Channels per level: doubled from level to level up to ``max_width``."""
    return tuple(min(width * 2**level, max(max_width, width)) for level in range(levels))
