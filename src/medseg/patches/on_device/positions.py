"""Where the voxels of a patch come from, split so that single precision is enough on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.patches.on_device.region import Region, turning


def positions(region: Region, patch: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What each row, column and slice of a patch adds to the positions in its box, without the displacement.

    The position of voxel ``(x, y, z)`` along a source axis is the sum of three elements of ``whole + part``,
    at ``x``, ``P0 + y`` and ``P0 + P1 + z``. ``whole`` are whole numbers, so sums of them are exact, and
    ``part`` lies from 0 up to 1: the fraction of a position keeps seven digits however large the scan is.

    Returns:
        ``whole`` and ``part``, both ``(3, P0 + P1 + P2)``.
    """
    matrix = turning(region.drawn.spatial)
    centre = (np.array(patch) - 1) / 2
    steps = [matrix[:, axis, None] * (np.arange(n) - centre[axis]) for axis, n in enumerate(patch)]
    for axis in range(3):  # so that in-plane, where slices alone decide the third axis, that stays whole
        steps[axis][axis] += region.drawn.start[axis] + centre[axis] - region.box.low[axis]
    exact = np.concatenate(steps, axis=1)
    whole = np.floor(exact)
    return whole.astype(np.float32), (exact - whole).astype(np.float32)
