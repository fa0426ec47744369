"""The compiled loops of separable filters: every line of one axis at a time, in place.

A block is ``(outer, n, inner)``: the filtered axis in the middle, what varies slower and faster around it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def smooth(block: Array, weights: Array) -> None:
    """Convolves with ``weights`` (odd, symmetric), the border repeated."""
    n, width = block.shape[1], block.shape[2]
    radius = len(weights) // 2
    copy = np.empty((n, width), np.float32)
    for o in range(block.shape[0]):
        lines = block[o]
        copy[:] = lines
        for i in range(n):
            for z in range(width):
                lines[i, z] = weights[radius] * copy[i, z]
            for k in range(1, radius + 1):
                low, high = max(i - k, 0), min(i + k, n - 1)
                for z in range(width):
                    lines[i, z] += weights[radius + k] * (copy[low, z] + copy[high, z])


def smooth_rows(block: Array, weights: Array) -> None:
    """`smooth` for the axis that varies fastest: ``block`` is ``(outer, n)``."""
    n = block.shape[1]
    radius = len(weights) // 2
    line = np.empty(n + 2 * radius, np.float32)
    for o in range(block.shape[0]):
        row = block[o]
        line[radius : radius + n] = row
        line[:radius] = row[0]
        line[radius + n :] = row[n - 1]
        for z in range(n):
            row[z] = weights[radius] * line[z + radius]
        for k in range(1, radius + 1):
            for z in range(n):
                row[z] += weights[radius + k] * (line[z + radius - k] + line[z + radius + k])


def mix(block: Array, low: Array, high: Array, share: Array) -> None:
    """Line i becomes ``(1 - share[i]) * line[low[i]] + share[i] * line[high[i]]``."""
    n, width = block.shape[1], block.shape[2]
    copy = np.empty((n, width), np.float32)
    for o in range(block.shape[0]):
        lines = block[o]
        copy[:] = lines
        for i in range(n):
            a, b, s = low[i], high[i], share[i]
            for z in range(width):
                lines[i, z] = copy[a, z] + s * (copy[b, z] - copy[a, z])
