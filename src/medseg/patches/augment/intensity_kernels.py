"""The compiled loops of changes of intensity: as few passes over a channel as there can be."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.machine_code import inner
from medseg.patches.augment.float_math import exp, exp2, log2
from medseg.patches.augment.kernel_types import Array

LANES = 64
_BLOCK = 64 * LANES
_F, _U64 = np.float32, np.uint64
_ZERO, _ONE, _SMALLEST = _F(0), _F(1), _F(1.2e-38)
"""Sums are kept in float32 per lane for a block, in float64 beyond."""


@inner
def _total(lanes: Array, first: int) -> float:
    total = 0.0
    for j in range(first, first + LANES):
        total += np.float64(lanes[j])
        lanes[j] = 0
    return total


@inner
def _mean_and_std(n: int, around: Any, total: float, squares: float) -> tuple[float, float]:
    mean = total / n
    return around + mean, np.sqrt(max(squares / n - mean * mean, 0.0))


def moments(values: Array, around: Any, lanes: Array) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and standard deviation of ``values`` ``(n,)`` float32.

    Sums are taken around ``around``, which should be near the mean. ``lanes`` ``(4 * LANES,)`` float32 is
    to work in.
    """
    n = values.size
    lanes[: 2 * LANES], lanes[2 * LANES :] = values[0], 0
    total, squares = 0.0, 0.0
    for block in range(0, n, _BLOCK):
        for start in range(block, min(block + _BLOCK, n), LANES):
            for j in range(min(LANES, n - start)):
                a, b, c, d = _U64(j), _U64(LANES + j), _U64(2 * LANES + j), _U64(3 * LANES + j)
                v = values[_U64(start + j)]
                away = v - around
                lanes[a] = v if v < lanes[a] else lanes[a]
                lanes[b] = v if v > lanes[b] else lanes[b]
                lanes[c] += away
                lanes[d] += away * away
        total += _total(lanes, 2 * LANES)
        squares += _total(lanes, 3 * LANES)
    low, high = values[0], values[0]
    for j in range(LANES):
        low, high = min(low, lanes[j]), max(high, lanes[LANES + j])
    mean, std = _mean_and_std(n, around, total, squares)
    return low, high, mean, std


def power(
    values: Array, origin: Any, scale: Any, exponent: Any, around: Any, lanes: Array
) -> tuple[float, float]:
    """``((v - origin) * scale) ** exponent`` in place, from 0 to 1; returns its mean and standard deviation.

    ``around`` is a guess of that mean.
    """
    n, total, squares = values.size, 0.0, 0.0
    lanes[:] = 0
    for block in range(0, n, _BLOCK):
        for start in range(block, min(block + _BLOCK, n), LANES):
            for j in range(min(LANES, n - start)):
                i, a, b = _U64(start + j), _U64(j), _U64(LANES + j)
                t = (values[i] - origin) * scale
                t = _ONE if t > _ONE else t
                p = exp2(exponent * log2(t))
                p = _ZERO if t < _SMALLEST else p
                away = p - around
                values[i] = p
                lanes[a] += away
                lanes[b] += away * away
        total += _total(lanes, 0)
        squares += _total(lanes, LANES)
    return _mean_and_std(n, around, total, squares)


def stretch(values: Array, factor: Any, offset: Any, low: Any, high: Any) -> None:
    """``v * factor + offset`` in place, kept within ``low`` and ``high``."""
    for i in range(values.size):
        v = values[i] * factor + offset
        v = low if v < low else v
        values[i] = high if v > high else v


def multiply_field(
    volume: Array, coefficients: Array, axes: tuple[Array, Array, Array], low: Any, work: Array
) -> None:
    """``(v - low) * exp(polynomial) + low`` in place.

    Args:
        volume: ``(P0, P1, P2)``.
        coefficients: ``(4, 4, 4)`` of the powers of the three coordinates.
        axes: ``(4, P0), (4, P1), (4, P2)``, the powers of each coordinate.
        low: see above.
        work: ``(4, 4)``, to work in.
    """
    x, y, z = axes
    for i in range(volume.shape[0]):
        for b in range(4):
            for c in range(4):
                total = _ZERO
                for a in range(4):
                    total += coefficients[a, b, c] * x[a, i]
                work[b, c] = total
        for j in range(volume.shape[1]):
            p0 = work[0, 0] + work[1, 0] * y[1, j] + work[2, 0] * y[2, j] + work[3, 0] * y[3, j]
            p1 = work[0, 1] + work[1, 1] * y[1, j] + work[2, 1] * y[2, j] + work[3, 1] * y[3, j]
            p2 = work[0, 2] + work[1, 2] * y[1, j] + work[2, 2] * y[2, j] + work[3, 2] * y[3, j]
            p3 = work[0, 3] + work[1, 3] * y[1, j] + work[2, 3] * y[2, j] + work[3, 3] * y[3, j]
            for k in range(volume.shape[2]):
                t = z[1, k]
                field = exp(((p3 * t + p2) * t + p1) * t + p0)
                volume[i, j, k] = (volume[i, j, k] - low) * field + low
