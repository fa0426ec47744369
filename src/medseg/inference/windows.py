"""Where the windows lie on a volume, and how much each of their voxels counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIGMA = 1 / 8
"""Standard deviation of the Gaussian weights, as a share of the window (nnU-Net, Isensee 2021)."""

STRETCH = 1.25
"""How much longer than the patch a window may be along an axis that it then holds whole."""


def stretched(size: int, window: int, step: int) -> int:
    """The window's length along an axis of ``size`` voxels, for networks that take multiples of ``step``.

    An axis that is little longer than the window would need two or three; one that holds it all is less
    to compute, most of all where several axes are so: their numbers of windows multiply.
    """
    whole = -(-size // step) * step
    return whole if window < whole <= STRETCH * window else window


def window_starts(size: int, window: int, overlap: float) -> tuple[int, ...]:
    """The first voxels of evenly spread windows along one axis, in increasing order.

    Neighbours overlap by at least ``overlap``. An axis shorter than the window gets one window, centred,
    whose start is then negative.
    """
    if size <= window:
        return (-((window - size) // 2),)
    step = max(1, int(window * (1 - overlap) + 1e-9))
    count = -(-(size - window) // step) + 1
    last = count - 1
    return tuple((i * (size - window) + last // 2) // last for i in range(count))


def gaussian(window: int) -> NDArray[np.float64]:
    """The weight of each voxel along one axis of a window, 1 at the centre."""
    offset = np.arange(window) - (window - 1) / 2
    weights: NDArray[np.float64] = np.exp(-0.5 * (offset / (SIGMA * window)) ** 2)
    return weights


@dataclass(frozen=True)
class WindowGrid:
    """All windows of a volume.

    Attributes:
        shape: the volume, three axes.
        window: the window, three axes (1 along the slices of a 2D plan).
        starts: per axis the first voxels; the windows are their product.
    """

    shape: tuple[int, int, int]
    window: tuple[int, int, int]
    starts: tuple[tuple[int, ...], ...]

    @classmethod
    def over(cls, shape: tuple[int, int, int], window: tuple[int, int, int], overlap: float) -> WindowGrid:
        """The grid whose neighbours overlap by at least ``overlap``."""
        starts = tuple(window_starts(n, w, overlap) for n, w in zip(shape, window, strict=True))
        return cls(shape, window, starts)

    def ordered(self, axis: int) -> Iterator[tuple[int, ...]]:
        """The corners of the windows; those along ``axis`` change last."""
        others = [a for a in range(3) if a != axis]
        for start in self.starts[axis]:
            for rest in itertools.product(*(self.starts[a] for a in others)):
                corner = [0, 0, 0]
                corner[axis] = start
                for a, s in zip(others, rest, strict=True):
                    corner[a] = s
                yield tuple(corner)

    def total_weight(self, axis: int) -> NDArray[np.float64]:
        """The summed weight of all windows along one axis, ``(shape[axis],)``.

        The windows are a product grid and the Gaussian is separable, so the weight of a voxel is the
        product of three such numbers and no volume of counts is needed.
        """
        window, size = self.window[axis], self.shape[axis]
        weight, total = gaussian(window), np.zeros(size)
        for start in self.starts[axis]:
            low, high = max(start, 0), min(start + window, size)
            total[low:high] += weight[low - start : high - start]
        return total

    def cheapest_axis(self) -> int:
        """The axis along which a ring of one window's depth is the smallest part of the volume."""
        share = [min(w, n) / n for w, n in zip(self.window, self.shape, strict=True)]
        return min(range(3), key=lambda a: share[a])
