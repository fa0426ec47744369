"""From scores on the store's grid to labels on the original one, plane by plane.

Each axis is resampled by its own matrix: two of them within a plane as it arrives, the third across the
few planes that a row of its matrix reads. So no volume of scores exists on either grid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.contracts import Labels
from medseg.data.geometry import Geometry
from medseg.data.resample import bands, interpolation_matrix

REGION_THRESHOLD = 0.5
TIE = 1e-6
"""Probabilities closer than this are equal, so that rounding decides nothing."""


def resampled_planes(
    planes: Iterable[Tensor], matrices: Sequence[NDArray[np.floating] | None], axis: int
) -> Iterator[Tensor]:
    """Resamples a volume that arrives as planes, and hands it on as planes.

    Args:
        planes: ``(K, *the two other axes)`` in increasing order along ``axis``.
        matrices: per axis ``(n_out, n_in)`` weights, or ``None`` where the axis stays as it is.
        axis: the axis that the planes come along.

    Yields:
        ``n_out`` planes along ``axis``. Each depends on its own inputs alone, in a fixed order, so what
        comes out does not depend on how the planes were made.
    """
    rows, columns = (matrices[a] for a in range(3) if a != axis)
    within = (_resampled(plane, rows, columns) for plane in planes)
    along = matrices[axis]
    return within if along is None else _across(within, along)


def _resampled(
    plane: Tensor, rows: NDArray[np.floating] | None, columns: NDArray[np.floating] | None
) -> Tensor:
    if rows is not None:
        plane = _product(rows, plane)
    if columns is not None:
        plane = _product(columns, plane.transpose(1, 2)).transpose(1, 2)
    return plane


def _product(matrix: NDArray[np.floating], plane: Tensor) -> Tensor:
    """``(n_out, n_in)`` times ``(K, n_in, m)``, of each block of rows only the inputs that it reads."""
    weights = torch.tensor(matrix, dtype=plane.dtype).to(plane.device)
    parts = [torch.matmul(weights[rows, inputs], plane[:, inputs]) for rows, inputs in bands(matrix)]
    return torch.cat(parts, dim=1)


def _across(planes: Iterator[Tensor], matrix: NDArray[np.floating]) -> Iterator[Tensor]:
    """Weighted sums over the planes that each row of ``matrix`` reads, keeping only those still needed."""
    reads = [np.flatnonzero(row) for row in matrix]
    # A later row may read an earlier plane than this one does, so look at all that follow.
    oldest_needed = np.minimum.accumulate([int(read[0]) for read in reads][::-1])[::-1]
    held: deque[Tensor] = deque()
    start = 0
    for row, read, oldest in zip(matrix, reads, oldest_needed, strict=True):
        while start + len(held) <= read[-1]:
            held.append(next(planes))
        while start < oldest:
            held.popleft()
            start += 1
        total = held[read[0] - start] * float(row[read[0]])
        for z in read[1:]:
            total.add_(held[z - start], alpha=float(row[z]))
        yield total


def decide(scores: Tensor, labels: Labels) -> NDArray[np.uint8]:
    """The winner per voxel: 0 background, ``k`` the ``k``-th name of ``labels``.

    Args:
        scores: ``(K, ...)`` probabilities.
        labels: exclusive classes: the largest wins, the lower one on a tie. Regions: each is painted
            where its probability is above one half, over those that come before it.
    """
    winner = torch.zeros(scores.shape[1:], dtype=torch.uint8, device=scores.device)
    if labels.overlapping:
        for k, region in enumerate(scores, start=1):
            winner.masked_fill_(region > REGION_THRESHOLD + TIE, k)
        return winner.cpu().numpy()
    best = scores[0]
    for k, score in enumerate(scores[1:], start=1):
        stronger = score > best + TIE
        winner.masked_fill_(stronger, k)
        best = torch.where(stronger, score, best)
    return winner.cpu().numpy()


def file_values(labels: Labels) -> NDArray[np.integer]:
    """What is written for background and for each name, in the smallest type that holds them all."""
    values = (0, *labels.painted)
    types = (np.uint8, np.uint16, np.int16, np.int32)
    fitting = (t for t in types if np.iinfo(t).min <= min(values) and max(values) <= np.iinfo(t).max)
    return np.array(values, dtype=next(fitting))


def matrices_back(geometry: Geometry) -> list[NDArray[np.floating] | None]:
    """Per axis of the store the matrix ``(n_cropped, n_store)`` for scores, ``None`` where none is needed."""
    sizes = zip(geometry.shape, geometry.cropped_shape, geometry.orders_back(1), strict=True)
    return [None if n == m else interpolation_matrix(n, m, order) for n, m, order in sizes]
