"""Gaussian kernels between all pairs of voxels, as products of thin matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEP = 0.7
"""Of the coarse grid, in standard deviations: the trapezoid rule is then off by 1e-4 at most."""
BEYOND = 2.5
SAMPLE = 4096
MOST = 64
TOLERANCE = 1e-3
_CHUNK = 1 << 18


def axis_factor(voxels: int, step: float, width: float) -> NDArray[np.float64]:
    """``(voxels, n)`` B with ``(B B^T)(x, y) = exp(-(x - y)^2 step^2 / 2 width^2)`` along one axis.

    ``exp(-(x - y)^2 / 2)`` is the integral over ``c`` of ``exp(-(x - c)^2) exp(-(y - c)^2) / sqrt(pi /
    2)``; the columns
    are its sum over a grid of ``c``. Where that grid would be the finer one, B is the kernel's own root.

    Args:
        voxels: along the axis.
        step: mm between them.
        width: standard deviation in mm.
    """
    place = np.arange(voxels) * (step / width)
    count = int(np.ceil((place[-1] + 2 * BEYOND) / STEP)) + 1
    if count < voxels:
        centres = (place[-1] - (count - 1) * STEP) / 2 + STEP * np.arange(count)
        coarse: NDArray[np.float64] = np.exp(-((place[:, None] - centres) ** 2))
        coarse *= np.sqrt(STEP / np.sqrt(np.pi / 2))
        return coarse
    values, vectors = np.linalg.eigh(np.exp(-((place[:, None] - place) ** 2) / 2))
    kept = values > 1e-7 * values[-1]
    root: NDArray[np.float64] = vectors[:, kept] * np.sqrt(values[kept])
    return root


def intensity_features(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N, R)`` F with ``(F F^T)(i, j)`` nearly ``exp(-|v_i - v_j|^2 / 2)``: a pivoted Cholesky
    factorisation.

    The columns are chosen one by one where the kernel is least explained so far, on a sample, until less than
    `TOLERANCE` of it is left anywhere or there are `MOST` of them (Harbrecht, Peters and Schneider 2012).

    Args:
        values: ``(N, M)`` intensities in units of the kernel's standard deviation.
    """
    rows = np.linspace(0, len(values) - 1, min(SAMPLE, len(values))).astype(np.int64)
    sample = values[rows].astype(np.float64)
    left, columns, chosen = np.ones(len(sample)), np.zeros((len(sample), 0)), list[int]()
    while len(chosen) < MOST and left.max() > TOLERANCE:
        pivot = int(np.argmax(left))
        column = _kernel(sample, sample[[pivot]])[:, 0] - columns @ columns[pivot]
        columns = np.column_stack([columns, column / np.sqrt(left[pivot])])
        left = np.maximum(left - columns[:, -1] ** 2, 0)
        chosen.append(pivot)
    # F = K(v, chosen) L^-T with the triangle L of the chosen rows, so it is the same for every voxel.
    back = np.linalg.inv(columns[chosen]).T
    found = np.empty((len(values), len(chosen)), np.float32)
    for start in range(0, len(values), _CHUNK):
        part = slice(start, start + _CHUNK)
        found[part] = _kernel(values[part].astype(np.float64), sample[chosen]) @ back
    return found


def _kernel(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    kernel: NDArray[np.float64] = np.exp(-np.maximum(squares, 0) / 2)
    return kernel
