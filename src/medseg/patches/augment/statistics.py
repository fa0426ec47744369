"""Minimum, maximum, mean and standard deviation of a channel, whatever its first voxel is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FAR = 100.0


def statistics(values: NDArray[np.float32], lanes: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Of ``values`` ``(n,)``; ``lanes`` is the kernels' room to work.

    Sums are taken around the first voxel. Where that is many standard deviations from the mean they
    cancel, and are taken once more around the mean.
    """
    from medseg.patches.augment.intensity_kernels import moments
    from medseg.patches.augment.machine_code import compiled

    first: Any = values[0]
    low, high, mean, std = compiled(moments)(values, first, lanes)
    if (mean - float(first)) ** 2 > _FAR * std**2:
        low, high, mean, std = compiled(moments)(values, np.float32(mean), lanes)
    return low, high, mean, std
