"""Masks with a bit per voxel, 64 voxels to a word along the last axis.

A mask of a box of ``(w, h, d)`` voxels is ``(w + 2, h + 2, words)`` uint64: a voxel of nothing lies all
around, so that voxel ``(x, y, z)`` of the box is bit ``z + 1`` of row ``(x + 1, y + 1)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.machine_code import inner
from medseg.evaluation.kernels.words import BYTE, EVERY, ONE, eight, lowest, shifted, uniform


@inner
def _chosen(word: Any, member: Any, n: Any) -> Any:
    """A bit for each of the ``n`` codes of a word that is a member."""
    if n == 8 and uniform(word):
        return np.uint64(0xFF) if member[word & BYTE] else np.uint64(0)
    bits = np.uint64(0)
    for k in range(n):
        if member[word & BYTE]:
            bits |= ONE << np.uint64(k)
        word >>= np.uint64(8)
    return bits


def pack(codes: Any, shape: Any, member: Any, box: Any, mask: Any) -> None:
    """Sets the bits of the voxels of a box whose codes are members.

    Args:
        codes: ``(V,)`` uint8 of the whole volume.
        shape: of the volume; its last axis runs fastest.
        member: ``(256,)`` bool; code 0 is none.
        box: first voxel and the one after the last along each axis, six numbers.
        mask: the box's, all zero.
    """
    for x in range(box[0], box[3]):
        for y in range(box[1], box[4]):
            row = mask[x - box[0] + 1, y - box[1] + 1]
            start = (x * shape[1] + y) * shape[2]
            for z in range(box[2], box[5], 8):
                n = min(8, box[5] - z)
                word = eight(codes, start + z, n)
                if word:
                    bits, at = _chosen(word, member, n), z - box[2] + 1
                    row[at >> 6] |= bits << np.uint64(at & 63)
                    if (at & 63) > 56:
                        row[(at >> 6) + 1] |= bits >> np.uint64(64 - (at & 63))


def boundary(mask: Any, along: Any, edge: Any) -> None:
    """The voxels that have a face neighbour outside the mask.

    Args:
        mask: a bit mask.
        along: for each axis, whether voxels have neighbours there.
        edge: the same shape, written.
    """
    edge[:] = 0
    for x in range(1, mask.shape[0] - 1):
        for y in range(1, mask.shape[1] - 1):
            for w in range(mask.shape[2]):
                here = mask[x, y, w]
                if here:
                    within = EVERY
                    if along[0]:
                        within &= mask[x - 1, y, w] & mask[x + 1, y, w]
                    if along[1]:
                        within &= mask[x, y - 1, w] & mask[x, y + 1, w]
                    if along[2]:
                        within &= shifted(mask[x, y], w, -1) & shifted(mask[x, y], w, 1)
                    edge[x, y, w] = here & ~within


def corners(mask: Any, along: Any, edge: Any) -> None:
    """The voxel corners between inside and outside; corner ``k`` lies before voxel ``k``.

    Args:
        mask: a bit mask.
        along: for each axis, whether there are neighbours; two of them at least.
        edge: the same shape, written.
    """
    edge[:] = 0
    for x in range(1, mask.shape[0]):
        for y in range(1, mask.shape[1]):
            for w in range(mask.shape[2]):
                some, every = np.uint64(0), EVERY
                for dx in range(along[0] + 1):
                    for dy in range(along[1] + 1):
                        row = mask[x - dx, y - dy]
                        here = row[w]
                        before = shifted(row, w, -1) if along[2] else here
                        some |= here | before
                        every &= here & before
                edge[x, y, w] = some & ~every


def corner_codes(mask: Any, along: Any, places: Any, codes: Any) -> None:
    """Which of the eight voxels around a corner are inside; along a flat axis a voxel stands for both.

    Args:
        mask: a bit mask.
        along: as for `corners`.
        places: ``(n, 3)`` int32 corners, in the mask's own numbers.
        codes: ``(n,)`` uint8, written: bit ``4 dx + 2 dy + dz`` is the voxel ``(dx, dy, dz)`` before.
    """
    for k in range(places.shape[0]):
        code = np.int64(0)
        for bit in range(8):
            x = places[k, 0] - ((bit >> 2) & along[0])
            y = places[k, 1] - ((bit >> 1) & along[1])
            z = places[k, 2] - (bit & along[2])
            code |= np.int64((mask[x, y, z >> 6] >> np.uint64(z & 63)) & ONE) << bit
        codes[k] = code


def places(mask: Any, out: Any) -> None:
    """The positions of all bits, into ``(n, 3)`` int32."""
    n = 0
    for x in range(mask.shape[0]):
        for y in range(mask.shape[1]):
            for w in range(mask.shape[2]):
                rest = mask[x, y, w]
                while rest:
                    out[n, 0], out[n, 1], out[n, 2] = x, y, 64 * w + lowest(rest)
                    rest &= rest - ONE
                    n += 1
