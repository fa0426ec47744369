"""Brightness: a factor per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment.draws import around_one
from medseg.patches.settings import AugmentationSettings


@dataclass(frozen=True)
class Brightness:
    """What was drawn: a factor per channel."""

    channels: tuple[int, ...]
    factor: tuple[float, ...]


def draw(
    rng: np.random.Generator, settings: AugmentationSettings, channels: Sequence[int]
) -> Brightness | None:
    """A factor for each of the ``channels``, or ``None``."""
    if rng.random() >= settings.brightness_probability:
        return None
    return Brightness(tuple(channels), tuple(around_one(rng, settings.brightness_range) for _ in channels))


def apply(image: NDArray[np.float32], brightness: Brightness) -> None:
    """Multiplies ``(M, *S)``, in place."""
    for channel, factor in zip(brightness.channels, brightness.factor, strict=True):
        image[channel] *= np.float32(factor)
