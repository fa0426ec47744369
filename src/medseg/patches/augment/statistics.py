"""Minimum, maximum, mean and standard deviation of a channel, whatever its first voxel is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FAR = 100.0
FLAT = 1e-7
"""Below this range an image counts as constant."""
LEAST_STD = 0.02
"""Of an image that was made anew from 0 to 1: where there is less than this the rest stays missing."""
_SAMPLES = 4096


def statistics(values: NDArray[np.float32], lanes: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Of ``values`` ``(n,)``; ``lanes`` is the kernels' room to work.

    Sums are taken around the first voxel. Where that is many standard deviations from the mean they
    cancel, and are taken once more around the mean.
    """
    from medseg.data.machine_code import compiled
    from medseg.patches.augment.intensity_kernels import moments

    first: Any = values[0]
    low, high, mean, std = compiled(moments)(values, first, lanes)
    if (mean - float(first)) ** 2 > _FAR * std**2:
        low, high, mean, std = compiled(moments)(values, np.float32(mean), lanes)
    return low, high, mean, std


def samples(
    values: NDArray[np.float32], shares: NDArray[np.float32] | Sequence[float]
) -> NDArray[np.float32]:
    """The values below which these shares of ``values`` ``(n,)`` lie, as a few thousand of them tell.

    Values that occur, never one between two.
    """
    few = np.sort(values[:: stride(values.size)])
    return few[places(shares, few.size)]


def places(shares: NDArray[np.float32] | Sequence[float], count: int) -> NDArray[np.int64]:
    """Where, of ``count`` values in order, those are below which these shares of them lie."""
    return (np.asarray(shares, np.float64) * (count - 1)).astype(np.int64)


def stride(count: int) -> int:
    """From one looked at to the next of ``count`` values; odd, so that no axis of even length is in step."""
    return max(1, count // _SAMPLES) | 1


def restoring(mean: float, std: float, new_mean: float, new_std: float) -> tuple[float, float]:
    """The factor and the offset that give an image its old mean and standard deviation back."""
    factor = std / max(new_std, LEAST_STD)
    return factor, mean - new_mean * factor
