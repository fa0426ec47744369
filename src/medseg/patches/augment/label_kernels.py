"""The argmax of interpolated one-hot labels, without ever making them one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.machine_code import inner, rare
from medseg.patches.augment.kernel_types import Array, Case, Patch, Row, Scratch, Steps
from medseg.patches.augment.lanes import LANES, majority, one_code, pair


@rare
def vote(codes: Array, weights: Array, corners: int) -> Any:
    """The code with the largest total weight; of equals the first corner's."""
    best, winning = np.float32(-1), codes[0]
    for k in range(corners):
        total = np.float32(0)
        for j in range(corners):
            if codes[j] == codes[k]:
                total += weights[j]
        if total > best:
            best, winning = total, codes[k]
    return winning


@inner
def corner_weights(fx: Any, fy: Any, fz: Any, weights: Array) -> None:
    """What each corner of a cell counts at a position within it; bit 2 of its number is the first axis."""
    one = np.float32(1)
    for k in range(8):
        wx = fx if k & 4 else one - fx
        wy = fy if k & 2 else one - fy
        wz = fz if k & 1 else one - fz
        weights[k] = wx * wy * wz


@inner
def _code(case: Case, row: Row, z: Any, steps: Steps, scratch: Scratch, nearest: bool) -> Any:
    """The code of one voxel whose cell is within the source."""
    label, b, (s1, s2, _) = case.label, row.base[z], steps
    fx, fy, fz = row.share[0, z], row.share[1, z], row.share[2, z]
    half = np.float32(0.5)
    if nearest:
        fx, fy, fz = np.float32(fx >= half), np.float32(fy >= half), np.float32(fz >= half)
    near, side = np.uint64(pair(label, b)), np.uint64(pair(label, b + s1))
    far, across = np.uint64(pair(label, b + s2)), np.uint64(pair(label, b + s1 + s2))
    cell = near | (side << np.uint64(16)) | (far << np.uint64(32)) | (across << np.uint64(48))
    code = majority(cell, fx, fy, fz)
    if code >= 0:
        return np.uint8(code)
    for k in range(8):
        scratch.codes[k] = (cell >> np.uint64(8 * k)) & np.uint64(0xFF)
    corner_weights(fx, fy, fz, scratch.weights)
    return vote(scratch.codes, scratch.weights, 8)


@inner
def label_run(
    case: Case, row: Row, low: Any, high: Any, steps: Steps, scratch: Scratch, patch: Patch, at: Any
) -> None:
    """Voxels ``low`` to ``high`` of a row, whose cells are all within the source.

    As many as there are lanes at once, as if every cell had one code, as most do; the others one by one.
    """
    z, count = low, np.uint64(0)
    while z < high:
        if z + LANES > high and high - low >= LANES:
            z = high - LANES  # some twice, to the same code
        end = min(z + LANES, high)
        several = 0xFF
        if end - z == LANES:
            several = one_code(case.label, row.base, z, steps, patch.label, at)
        if several != 0:
            for k in range(end - z):
                scratch.mixed[count] = z + k
                count += np.uint64((several >> k) & 1)
        z = end
    for m in range(count):
        k = scratch.mixed[m]
        patch.label[np.uint64(at + k)] = _code(case, row, k, steps, scratch, patch.nearest)
