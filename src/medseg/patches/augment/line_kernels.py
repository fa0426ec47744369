"""The compiled loops of separable filters: every line of one axis at a time, in place.

A block is ``(outer, n, inner)``: the filtered axis in the middle, what varies slower and faster around it.
Lines are copied in tiles that stay in the cache, and written back filtered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.machine_code import inner
from medseg.patches.augment.kernel_types import Array

TILE = 512
"""Lines side by side."""


@inner
def _weigh(copy: Array, centre: Any, stride: Any, half: Array, out: Array) -> None:
    """Sums of neighbours ``stride`` apart; ``half`` is the centre's weight, then an even number of others."""
    n = out.size
    for k in range(0, half.size - 2, 2):
        w0, w1, w2 = half[0], half[k + 1], half[k + 2]
        middle = copy[centre : centre + n]
        one, two = (k + 1) * stride, (k + 2) * stride
        a, b = copy[centre - one : centre - one + n], copy[centre + one : centre + one + n]
        c, d = copy[centre - two : centre - two + n], copy[centre + two : centre + two + n]
        if k == 0:
            for z in range(n):
                out[z] = w0 * middle[z] + w1 * (a[z] + b[z]) + w2 * (c[z] + d[z])
        else:
            for z in range(n):
                out[z] += w1 * (a[z] + b[z]) + w2 * (c[z] + d[z])


def smooth(block: Array, half: Array, copy: Array) -> None:
    """Convolves with a symmetric kernel, the border repeated.

    Args:
        block: ``(outer, n, inner)``.
        half: the kernel from its centre outwards, an odd number of at least three.
        copy: ``((n + 2 * len(half)) * TILE,)`` to work in.
    """
    n, width, radius = block.shape[1], block.shape[2], half.size - 1
    for o in range(block.shape[0]):
        for first in range(0, width, TILE):
            tile = min(TILE, width - first)
            for i in range(-radius, n + radius):
                line, begin = block[o, min(max(i, 0), n - 1)], (i + radius) * TILE
                for z in range(tile):
                    copy[np.uint64(begin + z)] = line[np.uint64(first + z)]
            for i in range(n):
                _weigh(copy, (i + radius) * TILE, TILE, half, block[o, i, first : first + tile])


def smooth_rows(block: Array, half: Array, copy: Array) -> None:
    """`smooth` for the axis that varies fastest: ``block`` is ``(outer, n)``."""
    n, radius = block.shape[1], half.size - 1
    for o in range(block.shape[0]):
        row = block[o]
        for z in range(radius):
            copy[z], copy[radius + n + z] = row[0], row[n - 1]
        for z in range(n):
            copy[radius + z] = row[z]
        _weigh(copy, radius, 1, half, row)


def mix(block: Array, low: Array, high: Array, share: Array, copy: Array) -> None:
    """Line i becomes ``(1 - share[i]) * line[low[i]] + share[i] * line[high[i]]``.

    ``copy`` ``(n * TILE,)`` is to work in.
    """
    n, width = block.shape[1], block.shape[2]
    for o in range(block.shape[0]):
        for first in range(0, width, TILE):
            tile = min(TILE, width - first)
            for i in range(n):
                for z in range(tile):
                    copy[np.uint64(i * TILE + z)] = block[o, i, np.uint64(first + z)]
            for i in range(n):
                a, b, s = low[i] * TILE, high[i] * TILE, share[i]
                for z in range(tile):
                    v = copy[np.uint64(a + z)]
                    block[o, i, np.uint64(first + z)] = v + s * (copy[np.uint64(b + z)] - v)


def mix_rows(block: Array, low: Array, high: Array, share: Array, copy: Array) -> None:
    """`mix` for the axis that varies fastest: ``block`` is ``(outer, n)``."""
    n = block.shape[1]
    for o in range(block.shape[0]):
        for z in range(n):
            copy[z] = block[o, z]
        for z in range(n):
            v = copy[np.uint64(low[z])]
            block[o, z] = v + share[z] * (copy[np.uint64(high[z])] - v)
