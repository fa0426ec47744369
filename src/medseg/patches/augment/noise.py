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
    from medseg.data.machine_code import compiled
    from medseg.patches.augment.noise_kernels import WORDS, add_noise

    block, std, seed = np.empty(WORDS, np.float32), np.float32(noise.std), np.uint64(noise.seed)
    for channel in noise.channels:
        compiled(add_noise)(image[channel].reshape(-1), std, seed, channel, block)
