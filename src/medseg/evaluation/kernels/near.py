"""Exact distances from the bits of one mask to the bits of another that are near.

All bits of a word are moved together through the offsets, nearest first, until each has met a bit of the
other mask.
"""

from __future__ import annotations

from typing import Any

from medseg.data.machine_code import inner
from medseg.evaluation.kernels.words import ONE, lowest, shifted


@inner
def _write(out: Any, n: Any, x: Any, y: Any, z: Any) -> None:
    out[n, 0], out[n, 1], out[n, 2] = x, y, z


def near(seekers: Any, targets: Any, offsets: Any, lengths: Any, places: Any, distances: Any) -> Any:
    """Finds the nearest target of every seeker that has one within the offsets.

    Args:
        seekers: a bit mask, without a bit that ``targets`` has.
        targets: a bit mask of the same shape.
        offsets: ``(k, 3)`` int64, nearest first, the last of the three from -63 to 63.
        lengths: ``(k,)`` float64, how far each goes.
        places: ``(n, 3)`` int32, written: the seekers that found one from the front, the others from the end.
        distances: ``(n,)`` float64, written as far as found.

    Returns:
        How many found one.
    """
    found, far = 0, places.shape[0]
    for x in range(seekers.shape[0]):
        for y in range(seekers.shape[1]):
            for w in range(seekers.shape[2]):
                rest = seekers[x, y, w]
                k = 0
                while rest and k < offsets.shape[0]:
                    i, j = x + offsets[k, 0], y + offsets[k, 1]
                    if 0 <= i < targets.shape[0] and 0 <= j < targets.shape[1]:
                        hit = rest & shifted(targets[i, j], w, offsets[k, 2])
                        rest ^= hit
                        while hit:
                            _write(places, found, x, y, 64 * w + lowest(hit))
                            distances[found] = lengths[k]
                            found += 1
                            hit &= hit - ONE
                    k += 1
                while rest:
                    far -= 1
                    _write(places, far, x, y, 64 * w + lowest(rest))
                    rest &= rest - ONE
    return found
