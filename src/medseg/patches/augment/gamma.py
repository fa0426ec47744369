"""Gamma: a power curve over the range of values, on the image or on its negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment.draws import around_one
from medseg.patches.augment.statistics import statistics
from medseg.patches.settings import AugmentationSettings


@dataclass(frozen=True)
class Gamma:
    """What was drawn: an exponent per channel, and whether it acts on the negative."""

    channels: tuple[int, ...]
    exponent: tuple[float, ...]
    inverted: bool


def draw(
    rng: np.random.Generator, settings: AugmentationSettings, channels: Sequence[int], inverted: bool
) -> Gamma | None:
    """An exponent for each of the ``channels``, or ``None``."""
    probability = settings.gamma_inverted_probability if inverted else settings.gamma_probability
    if rng.random() >= probability:
        return None
    return Gamma(tuple(channels), tuple(around_one(rng, settings.gamma_range) for _ in channels), inverted)


def apply(image: NDArray[np.float32], gamma: Gamma) -> None:
    """Bends the values of ``(M, *S)``, in place; mean and standard deviation stay as they were."""
    from medseg.data.machine_code import compiled
    from medseg.patches.augment.intensity_kernels import LANES, power, stretch

    lanes, real = np.empty(4 * LANES, np.float32), np.float32
    for channel, exponent in zip(gamma.channels, gamma.exponent, strict=True):
        values = image[channel].reshape(-1)
        low, high, mean, std = statistics(values, lanes)
        if high - low < 1e-7:
            continue
        # 0 at the darkest voxel (at the brightest one of the negative), 1 at the other end.
        origin, scale = (high, 1 / (low - high)) if gamma.inverted else (low, 1 / (high - low))
        guess = min(max((mean - origin) * scale, 0.0), 1.0) ** exponent
        bent = (real(origin), real(scale), real(exponent), real(guess))
        new_mean, new_std = compiled(power)(values, *bent, lanes)
        factor = (-std if gamma.inverted else std) / max(new_std, 1e-7)
        offset = mean - new_mean * factor
        compiled(stretch)(values, real(factor), real(offset), real(-np.inf), real(np.inf))
