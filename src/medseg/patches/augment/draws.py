"""How numbers are drawn from ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medseg.patches.settings import Range


def uniform(rng: np.random.Generator, bounds: Range) -> float:
    """Evenly between the bounds."""
    return float(rng.uniform(*bounds))


def log_uniform(rng: np.random.Generator, bounds: Range) -> float:
    """A factor: as likely to be ``f`` as ``1 / f``, where the bounds allow both."""
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))


def around_one(rng: np.random.Generator, bounds: Range) -> float:
    """Below 1 half of the time, above 1 the other half, evenly on either side (as nnU-Net does)."""
    low, high = bounds
    below = rng.random() < 0.5
    if low < 1 and (below or high <= 1):
        return float(rng.uniform(low, min(high, 1)))
    return float(rng.uniform(max(low, 1), max(high, 1)))


def chosen(rng: np.random.Generator, channels: Sequence[int], probability: float) -> tuple[int, ...]:
    """Each channel by itself with this probability."""
    return tuple(
        channel for channel, u in zip(channels, rng.random(len(channels)), strict=True) if u < probability
    )
