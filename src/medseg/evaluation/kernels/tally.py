"""One pass over two label maps: which codes meet how often, and the box of every code."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.machine_code import inner
from medseg.evaluation.kernels.words import BYTE, eight, uniform


@inner
def _widen(boxes: Any, code: Any, x: Any, y: Any, low: Any, high: Any) -> None:
    box = boxes[code]
    box[0], box[3] = min(box[0], x), max(box[3], x + 1)
    box[1], box[4] = min(box[1], y), max(box[4], y + 1)
    box[2], box[5] = min(box[2], low), max(box[5], high)


@inner
def _count(table: Any, boxes: Any, t: Any, g: Any, place: Any, n: Any) -> None:
    """``n`` voxels from ``place`` (x, y, z) on."""
    x, y, z = place
    if n == 8 and uniform(t) and uniform(g):
        table[t & BYTE, g & BYTE] += 8
        _widen(boxes, t & BYTE, x, y, z, z + 8)
        _widen(boxes, g & BYTE, x, y, z, z + 8)
        return
    for k in range(n):
        a, b = t & BYTE, g & BYTE
        table[a, b] += 1
        _widen(boxes, a, x, y, z + k, z + k + 1)
        _widen(boxes, b, x, y, z + k, z + k + 1)
        t >>= np.uint64(8)
        g >>= np.uint64(8)


def tally(truth: Any, guess: Any, shape: Any, table: Any, boxes: Any) -> None:
    """Counts the voxels in which not both codes are zero; the rest can be reckoned from the size.

    Args:
        truth: ``(V,)`` uint8.
        guess: ``(V,)`` uint8.
        shape: of the volume; its last axis runs fastest.
        table: ``(256, 256)`` int64, counted up: true codes down, guessed across.
        boxes: ``(256, 6)`` int64, first voxel and the one after the last along each axis, of either volume;
            widened. That of code 0 means nothing.
    """
    depth = shape[2]
    for x in range(shape[0]):
        for y in range(shape[1]):
            start = (x * shape[1] + y) * depth
            for z in range(0, depth, 8):
                n = min(8, depth - z)
                t, g = eight(truth, start + z, n), eight(guess, start + z, n)
                if t | g:
                    _count(table, boxes, t, g, (x, y, z), n)
