"""A network over a whole volume, window by window, in memory that does not grow with the volume.

Only a ring of planes as deep as one window is held. A plane is handed on, finished, as soon as no later
window touches it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.inference.neighbours import Neighbours
from medseg.inference.windows import WindowGrid, gaussian

Score = Callable[[Tensor], Tensor]
"""``(B, M, w, h, d)`` windows -> ``(B, K, w, h, d)`` float32 scores, on any device."""


def score_planes(
    image: NDArray[np.float32] | Neighbours, score: Score, grid: WindowGrid, axis: int, window_batch: int
) -> Iterator[Tensor]:
    """The Gaussian-weighted mean score of every voxel, one plane across ``axis`` after the other.

    Args:
        image: ``(M, W, H, D)``; may be memory-mapped, only windows of it are read. Outside of it, where
            it is smaller than a window, there are zeros.
        score: what to compute for a batch of windows.
        grid: the windows.
        axis: 0, 1 or 2; the planes come in increasing order along it.
        window_batch: windows handed to ``score`` at once; it does not change what comes out.

    Yields:
        ``shape[axis]`` tensors ``(K, *the other two axes)``, on the device of the scores.
    """
    ring: _Ring | None = None
    corners = grid.ordered(axis)
    while batch := list(itertools.islice(corners, window_batch)):
        scores = score(torch.from_numpy(np.stack([cut(image, corner, grid.window) for corner in batch])))
        if ring is None:
            ring = _Ring(grid, axis, scores)
        for corner, window in zip(batch, scores, strict=True):
            yield from ring.finish(corner[axis])
            ring.add(corner, window)
        del scores
    if ring is not None:
        yield from ring.finish(grid.shape[axis])


def cut(
    image: NDArray[np.float32] | Neighbours, corner: tuple[int, ...], window: tuple[int, ...]
) -> NDArray[np.float32]:
    """One window ``(M, *window)`` of ``image`` as a copy, zero outside of the image."""
    inside, within = _overlap(image.shape[1:], corner, window)
    patch = np.zeros((image.shape[0], *window), np.float32)
    patch[(slice(None), *within)] = image[slice(None), inside[0], inside[1], inside[2]]
    return patch


def _overlap(
    shape: tuple[int, ...], corner: tuple[int, ...], window: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of a window that lies on the volume, in indices of the volume and of the window."""
    low = [max(c, 0) for c in corner]
    high = [min(c + w, n) for c, w, n in zip(corner, window, shape, strict=True)]
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    within = tuple(slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=True))
    return inside, within


class _Ring:
    """Sums of weighted scores for as many planes as a window is deep; plane ``z`` lies at ``z % depth``."""

    def __init__(self, grid: WindowGrid, axis: int, like: Tensor) -> None:
        self._grid, self._axis = grid, axis
        self._others = [a for a in range(3) if a != axis]
        self._depth = min(grid.window[axis], grid.shape[axis])
        across = [grid.shape[a] for a in self._others]
        self._sums = like.new_zeros((self._depth, like.shape[1], *across), dtype=torch.float32)
        self._done = 0
        order = [axis, *self._others]
        weights = [gaussian(grid.window[a]) for a in order]
        self._weight = _as(like, np.einsum("a,b,c->abc", *weights))[:, None]
        self._along = 1 / grid.total_weight(axis)
        totals = [1 / grid.total_weight(a) for a in self._others]
        self._across = _as(like, np.outer(*totals))

    def add(self, corner: tuple[int, ...], scores: Tensor) -> None:
        """Adds the scores ``(K, *window)`` of the window at ``corner``."""
        inside, within = _overlap(self._grid.shape, corner, self._grid.window)
        order = [self._axis, *self._others]
        scores = scores.permute(1 + self._axis, 0, *(1 + a for a in self._others))
        first, second, third = (inside[a] for a in order)
        source, second_source, third_source = (within[a] for a in order)
        wrap = (first.start // self._depth + 1) * self._depth
        for low, high in ((first.start, min(wrap, first.stop)), (wrap, first.stop)):
            if low >= high:
                continue
            planes = slice(low % self._depth, low % self._depth + high - low)
            taken = slice(source.start + low - first.start, source.start + high - first.start)
            part = (taken, slice(None), second_source, third_source)
            self._sums[planes, :, second, third].addcmul_(scores[part], self._weight[part])

    def finish(self, until: int) -> Iterator[Tensor]:
        """Hands out the planes before ``until``, none of which a later window touches."""
        for z in range(self._done, until):
            plane = self._sums[z % self._depth]
            yield plane * (self._across * float(self._along[z]))
            plane.zero_()
            self._done = z + 1


def _as(like: Tensor, array: NDArray[np.float64]) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float32).to(like.device)
