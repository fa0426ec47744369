"""Gamma: a power curve over the range of values, on the image or on its negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment.draws import around_one
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
    for channel, exponent in zip(gamma.channels, gamma.exponent, strict=True):
        volume = image[channel]
        low, high = volume.min(), volume.max()
        if high - low < 1e-7:
            continue
        mean, std = volume.mean(), volume.std()
        # 0 at the darkest voxel (at the brightest one of the negative), 1 at the other end.
        origin, length = (high, low - high) if gamma.inverted else (low, high - low)
        volume -= origin
        volume /= length
        np.clip(volume, 0, 1, out=volume)
        np.power(volume, np.float32(exponent), out=volume)
        sign = np.float32(-1 if gamma.inverted else 1)
        factor = sign * std / max(volume.std(), np.float32(1e-7))
        volume -= volume.mean()
        volume *= factor
        volume += mean
