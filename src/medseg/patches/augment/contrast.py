"""Contrast: values are stretched about their mean, within their old range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment.draws import around_one
from medseg.patches.augment.statistics import statistics
from medseg.patches.settings import AugmentationSettings


@dataclass(frozen=True)
class Contrast:
    """What was drawn: a factor per channel."""

    channels: tuple[int, ...]
    factor: tuple[float, ...]


def draw(
    rng: np.random.Generator, settings: AugmentationSettings, channels: Sequence[int]
) -> Contrast | None:
    """A factor for each of the ``channels``, or ``None``."""
    if rng.random() >= settings.contrast_probability:
        return None
    return Contrast(tuple(channels), tuple(around_one(rng, settings.contrast_range) for _ in channels))


def apply(image: NDArray[np.float32], contrast: Contrast) -> None:
    """Stretches ``(M, *S)``, in place."""
    from medseg.data.machine_code import compiled
    from medseg.patches.augment.intensity_kernels import LANES, stretch

    lanes, real = np.empty(4 * LANES, np.float32), np.float32
    for channel, factor in zip(contrast.channels, contrast.factor, strict=True):
        values = image[channel].reshape(-1)
        low, high, mean, _ = statistics(values, lanes)
        compiled(stretch)(values, real(factor), real(mean * (1 - factor)), real(low), real(high))
