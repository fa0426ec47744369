"""Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment.draws import uniform
from medseg.patches.settings import AugmentationSettings


@dataclass(frozen=True)
class Noise:
    """What was drawn: the noise is the one of this ``seed``, with this standard deviation."""

    channels: tuple[int, ...]
    std: float
    seed: int


def draw(rng: np.random.Generator, settings: AugmentationSettings, channels: Sequence[int]) -> Noise | None:
    """Noise for all ``channels``, or ``None``."""
    if rng.random() >= settings.noise_probability:
        return None
    return Noise(tuple(channels), uniform(rng, settings.noise_std), int(rng.integers(1 << 63)))


def apply(image: NDArray[np.float32], noise: Noise) -> None:
    """Adds it to ``(M, *S)``, in place."""
    rng = np.random.Generator(np.random.SFC64(noise.seed))
    for channel in noise.channels:
        field = rng.standard_normal(image[channel].shape, dtype=np.float32)
        field *= np.float32(noise.std)
        image[channel] += field
