"""Gaussian blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment.draws import chosen, uniform
from medseg.patches.settings import AugmentationSettings

_TRUNCATE = 4.0  # standard deviations, as scipy cuts it


@dataclass(frozen=True)
class Blur:
    """What was drawn: a standard deviation in voxels per channel, along ``axes``."""

    channels: tuple[int, ...]
    sigma: tuple[float, ...]
    axes: tuple[int, ...]


def draw(
    rng: np.random.Generator, settings: AugmentationSettings, channels: Sequence[int], axes: Sequence[int]
) -> Blur | None:
    """A blur along the spatial ``axes``, or ``None``."""
    if rng.random() >= settings.blur_probability:
        return None
    hit = chosen(rng, channels, settings.blur_channel_probability)
    return Blur(hit, tuple(uniform(rng, settings.blur_sigma) for _ in hit), tuple(axes)) if hit else None


def apply(image: NDArray[np.float32], blur: Blur) -> None:
    """Blurs ``(M, *S)``, in place; the border is repeated."""
    from medseg.data.machine_code import compiled
    from medseg.patches.augment.line_kernels import TILE, smooth, smooth_rows

    for channel, sigma in zip(blur.channels, blur.sigma, strict=True):
        half = _half(sigma)
        volume = image[channel]
        copy = np.empty((max(volume.shape) + 2 * len(half)) * TILE, np.float32)
        for axis in blur.axes:
            n = volume.shape[axis]
            if axis == volume.ndim - 1:
                compiled(smooth_rows)(volume.reshape(-1, n), half, copy)
            else:
                outer = math.prod(volume.shape[:axis])
                compiled(smooth)(volume.reshape(outer, n, -1), half, copy)


def _half(sigma: float) -> NDArray[np.float32]:
    """The kernel from its centre outwards; the kernels want pairs of neighbours, so an odd number."""
    radius = int(_TRUNCATE * sigma + 0.5)
    weights: NDArray[np.float64] = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    return np.pad(weights, (0, max(2, radius + radius % 2) - radius)).astype(np.float32)
