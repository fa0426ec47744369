"""Changes of neighbourhoods, row by row: a row is one modality of one sample, ``(R, *S)`` all of them.

The definitions are those of the files of the same names in `medseg.patches.augment`. Sums and no
convolutions: those may run in reduced precision on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.patches.augment.blur import Blur
from medseg.patches.augment.low_resolution import LowResolution

_TRUNCATE = 4.0  # standard deviations


def taps(changes: Sequence[Blur]) -> NDArray[np.float32]:
    """``(R, r + 1)``: the weights of Gaussians from their middle outwards, zero beyond their own radius."""
    sigmas = np.array([sigma for change in changes for sigma in change.sigma])
    radii = (_TRUNCATE * sigmas + 0.5).astype(int)
    distance = np.arange(radii.max() + 1)
    half = np.where(distance <= radii[:, None], np.exp(-0.5 * (distance / sigmas[:, None]) ** 2), 0.0)
    weights: NDArray[np.float64] = half / (2 * half.sum(1, keepdims=True) - half[:, :1])
    return weights.astype(np.float32)


def kept_voxels(changes: Sequence[LowResolution], space: Sequence[int]) -> NDArray[np.int64]:
    """``(R, len(axes))``: how many voxels are kept along each axis."""
    shares = [kept for change in changes for kept in change.kept]
    return np.array([[max(1, round(space[a] * kept)) for a in changes[0].axes] for kept in shares], np.int64)


def blur(rows: Tensor, taps: Tensor, axes: Sequence[int]) -> Tensor:
    """Convolved along each axis with Gaussians of their own; the border is repeated."""
    radius = taps.shape[1] - 1
    weights = taps.view(len(rows), -1, *[1] * (rows.ndim - 1))
    for axis in axes:
        n = rows.shape[axis + 1]
        reach = torch.arange(-radius, n + radius, device=rows.device).clamp_(0, n - 1)
        wide = rows.index_select(axis + 1, reach)
        total = rows * weights[:, 0]
        for k in range(1, radius + 1):
            pair = wide.narrow(axis + 1, radius - k, n) + wide.narrow(axis + 1, radius + k, n)
            total.addcmul_(pair, weights[:, k])
        rows = total
    return rows


def coarsen(rows: Tensor, kept: Tensor, axes: Sequence[int]) -> Tensor:
    """Nearest-neighbour down to ``kept`` voxels per axis, linear up again; voxel centres align."""
    for column, axis in enumerate(axes):
        n = rows.shape[axis + 1]
        small = kept[:, column, None]
        # In units of half a voxel of the patch, so that whole numbers say exactly which voxels these are.
        place = ((2 * torch.arange(n, device=rows.device) + 1) * small - n).clamp_(min=0)
        first = torch.minimum(place // (2 * n), small - 1)
        second = torch.minimum(first + 1, small - 1)
        share = (place - first * (2 * n)).to(rows.dtype) / (2 * n)
        line = [1] * rows.ndim
        line[0], line[axis + 1] = len(rows), n
        low, high = (_lines(rows, (2 * i + 1) * n // (2 * small), axis, line) for i in (first, second))
        rows = torch.lerp(low, high, share.view(line))
    return rows


def _lines(rows: Tensor, index: Tensor, axis: int, line: list[int]) -> Tensor:
    """Each row's lines of one axis, by its own index ``(R, n)``."""
    return rows.gather(axis + 1, index.view(line).expand(rows.shape))
