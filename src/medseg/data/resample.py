"""Resampling as one matrix product per axis.

Interpolation by B-splines on a regular grid is linear and separable, so ``scipy.ndimage.zoom`` (and
``skimage.transform.resize``, which nnU-Net uses) equals three small matrices, one per axis. Conventions are
theirs: half-pixel centres (``grid_mode=True``) and the edge voxel repeated outside (``mode="nearest"``).
Nothing is smoothed before shrinking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
ANISOTROPY = 3.0
"""From this ratio of spacings on the coarse axis is not interpolated (nnU-Net's threshold)."""
MARGIN = 12
"""Voxels the edge is repeated by before cubic splines are fitted; scipy's own number."""
BLOCK = 64
"""Output rows per product: a row needs only the inputs near it, so a band is multiplied, not all."""
NEGLIGIBLE = 1e-9
"""Weights below it are left out of the band; cubic splines reach far, but shrink by 0.27 a voxel."""
TIE = 1e-6
"""Shares of two codes that differ by less are equal."""
SLAB_VOXELS = 1 << 22
"""Output voxels of labels that are resampled at a time."""


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]
) -> tuple[int, int, int]:
    """Voxels per axis that keep the extent in mm: ``round(n * spacing / target)``, at least 1."""
    w, h, d = (max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, target, strict=True))
    return w, h, d


def axis_orders(
    spacing: Sequence[float], target: Sequence[float], order: int, in_plane: bool = False
) -> tuple[int, int, int]:
    """The interpolation order per axis: ``order``, or 0 along the one coarse axis where there is one.

    Args:
        spacing: mm per voxel before.
        target: mm per voxel after.
        order: 0, 1 or 3.
        in_plane: whether the last axis is slices of a 2D plan, which are never mixed.
    """
    coarse = _coarse_axis(spacing)
    coarse = _coarse_axis(target) if coarse is None else coarse
    if in_plane:
        coarse = 2
    i, j, k = (0 if axis == coarse else order for axis in range(3))
    return i, j, k


def _coarse_axis(spacing: Sequence[float]) -> int | None:
    coarsest = [a for a in range(3) if spacing[a] == max(spacing)]
    if max(spacing) / min(spacing) > ANISOTROPY and len(coarsest) == 1:
        return coarsest[0]
    return None


@lru_cache(maxsize=128)
def interpolation_matrix(n_in: int, n_out: int, order: int) -> NDArray[np.float64]:
    """The matrix ``(n_out, n_in)`` that resamples one axis; read-only.

    Row ``o`` has the weights of the inputs at the position ``(o + 0.5) * n_in / n_out - 0.5``.

    Args:
        n_in: voxels before, at least 1.
        n_out: voxels after, at least 1.
        order: of the spline: 0 nearest, 1 linear, 3 cubic.

    Raises:
        ValueError: another order, or an empty axis.
    """
    if order not in (0, 1, 3) or n_in < 1 or n_out < 1:
        raise ValueError(f"cannot resample {n_in} voxels to {n_out} with order {order}")
    position = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
    if n_in == n_out:
        matrix = np.eye(n_in)
    elif order == 0:
        matrix = np.zeros((n_out, n_in))
        matrix[np.arange(n_out), nearest_index(n_in, n_out)] = 1.0
    elif order == 1:
        matrix = _taps(position, np.eye(n_in), 0)
    else:
        from scipy.ndimage import spline_filter1d

        padded = np.pad(np.eye(n_in), ((MARGIN, MARGIN), (0, 0)), mode="edge")
        matrix = _taps(position, spline_filter1d(padded, order=3, axis=0, mode="nearest"), MARGIN)
    matrix.setflags(write=False)
    return matrix


def nearest_index(n_in: int, n_out: int) -> NDArray[np.int64]:
    """The input voxel that each of ``n_out`` output voxels takes."""
    return np.minimum((2 * np.arange(n_out) + 1) * n_in // (2 * n_out), n_in - 1)


def _taps(position: Floats, coefficients: Floats, margin: int) -> NDArray[np.float64]:
    """Sums the B-spline's weights around each position, linear without and cubic with a margin."""
    base = np.floor(position).astype(int)
    t = position - base
    if margin:
        weights = [
            (1 - t) ** 3 / 6,
            2 / 3 - t**2 + t**3 / 2,
            2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2,
            t**3 / 6,
        ]
        first = base - 1 + margin
    else:
        weights, first = [1 - t, t], base
    rows = [
        weight[:, None] * coefficients[np.clip(first + tap, 0, len(coefficients) - 1)]
        for tap, weight in enumerate(weights)
    ]
    return np.asarray(sum(rows), dtype=np.float64)


def resample_axis(array: Floats, axis: int, n_out: int, order: int) -> Floats:
    """Resamples one axis of a float array to ``n_out`` voxels, in the array's own precision."""
    n_in = array.shape[axis]
    if n_in == n_out:
        return array
    if order == 0:
        return np.take(array, nearest_index(n_in, n_out), axis=axis)
    matrix = interpolation_matrix(n_in, n_out, order)
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    flat = np.ascontiguousarray(array).reshape(int(np.prod(before)), n_in, int(np.prod(after)))
    out = np.empty((flat.shape[0], n_out, flat.shape[2]), dtype=array.dtype)
    for rows, columns in bands(matrix):
        weights = matrix[rows, columns].astype(array.dtype)
        if flat.shape[2] == 1:  # the last axis: one large product instead of many with a vector
            np.matmul(flat[:, columns, 0], weights.T, out=out[:, rows, 0])
        else:
            np.matmul(weights, flat[:, columns], out=out[:, rows])
    return out.reshape(*before, n_out, *after)


def bands(matrix: Floats, block: int = BLOCK) -> Iterator[tuple[slice, slice]]:
    """Blocks of output rows with the range of inputs that they need."""
    for start in range(0, len(matrix), block):
        rows = slice(start, min(start + block, len(matrix)))
        used = np.flatnonzero((np.abs(matrix[rows]) > NEGLIGIBLE).any(axis=0))
        yield rows, slice(int(used[0]), int(used[-1]) + 1)


def resample_image(
    image: NDArray[np.float32], shape: Sequence[int], orders: Sequence[int]
) -> NDArray[np.float32]:
    """Resamples ``(..., W, H, D)`` to ``shape``, shrinking axes first so that the others cost less.

    Args:
        image: any number of leading axes.
        shape: voxels of the last three axes.
        orders: per axis 0, 1 or 3, see `axis_orders`.
    """
    lead = image.ndim - 3
    growth = [n / image.shape[lead + axis] for axis, n in enumerate(shape)]
    result: Floats = image
    for axis in sorted(range(3), key=growth.__getitem__):
        result = resample_axis(result, lead + axis, shape[axis], orders[axis])
    return np.asarray(result, dtype=np.float32)


def resample_codes(
    codes: NDArray[np.uint8], shape: Sequence[int], orders: Sequence[int]
) -> NDArray[np.uint8]:
    """Resamples a label map ``(W, H, D)``: each code by itself, then the strongest.

    Numbers are never mixed: the result has no code that the input has not. At ties the lower code
    wins. Works slab by slab, so memory does not grow with the volume.

    Args:
        codes: of `medseg.contracts.Labels`.
        shape: voxels per axis afterwards.
        orders: per axis 0 or 1; 3 is taken as 1, because a cubic one-hot overshoots.
    """
    if tuple(codes.shape) == tuple(shape):
        return codes.copy()
    matrices = [
        interpolation_matrix(n_in, n_out, min(order, 1)).astype(np.float32)
        for n_in, n_out, order in zip(codes.shape, shape, orders, strict=True)
    ]
    result = np.empty(tuple(shape), dtype=np.uint8)
    rows_at_once = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
    for rows, columns in bands(matrices[0], min(BLOCK, rows_at_once)):
        result[rows] = _resample_slab(codes[columns], [matrices[0][rows, columns], *matrices[1:]])
    return result


def _resample_slab(codes: NDArray[np.uint8], matrices: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """The strongest code of each output voxel; the lowest code gets what the others leave of 1."""
    present = np.flatnonzero(np.bincount(codes.ravel(), minlength=256))
    shape = tuple(len(matrix) for matrix in matrices)
    winner = np.full(shape, present[0], dtype=np.uint8)
    if len(present) == 1:
        return winner
    best, rest = np.zeros(shape, dtype=np.float32), np.ones(shape, dtype=np.float32)
    for code in present[1:]:
        box, share = _share(codes == code, matrices)
        rest[box] -= share
        # A hair's breadth, so that rounding does not decide ties: the lower code has them.
        stronger = share > best[box] + TIE
        winner[box][stronger] = code
        np.copyto(best[box], share, where=stronger)
    winner[best <= rest + TIE] = present[0]
    return winner


def _share(
    mask: NDArray[np.bool_], matrices: Sequence[NDArray[np.float32]]
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """The interpolated mask in the box where it is not zero, and that box."""
    inside, reached = [], []
    for axis, matrix in enumerate(matrices):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        inside.append(slice(int(hit[0]), int(hit[-1]) + 1))
        rows = np.flatnonzero(matrix[:, inside[axis]].any(axis=1))
        # Shrinking may skip a thin mask altogether.
        reached.append(slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0))
    i, j, k = (matrix[out, cut] for matrix, out, cut in zip(matrices, reached, inside, strict=True))
    share = np.tensordot(i, mask[tuple(inside)].astype(np.float32), axes=1)
    return tuple(reached), np.matmul(j, share) @ k.T
