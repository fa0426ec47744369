"""A scan of lower resolution: voxels are thrown away and interpolated back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment.draws import chosen, uniform
from medseg.patches.settings import AugmentationSettings


@dataclass(frozen=True)
class LowResolution:
    """What was drawn: per channel the share of the voxels that is kept along each of ``axes``."""

    channels: tuple[int, ...]
    kept: tuple[float, ...]
    axes: tuple[int, ...]


def draw(
    rng: np.random.Generator, settings: AugmentationSettings, channels: Sequence[int], axes: Sequence[int]
) -> LowResolution | None:
    """A loss of resolution along the spatial ``axes``, or ``None``."""
    if rng.random() >= settings.low_resolution_probability:
        return None
    hit = chosen(rng, channels, settings.low_resolution_channel_probability)
    kept = tuple(uniform(rng, settings.low_resolution_range) for _ in hit)
    return LowResolution(hit, kept, tuple(axes)) if hit else None


def apply(image: NDArray[np.float32], low: LowResolution) -> None:
    """Nearest-neighbour down, linear up, ``(M, *S)``, in place.

    Both are separable and linear, so each axis goes down and up again by one weighted sum of two lines,
    and the small image is never made.
    """
    from medseg.data.machine_code import compiled
    from medseg.patches.augment.line_kernels import TILE, mix, mix_rows

    for channel, kept in zip(low.channels, low.kept, strict=True):
        volume = image[channel]
        copy = np.empty(max(volume.shape) * TILE, np.float32)
        for axis in low.axes:
            n = volume.shape[axis]
            if axis == volume.ndim - 1:
                compiled(mix_rows)(volume.reshape(-1, n), *_lines(n, kept), copy)
            else:
                block = volume.reshape(math.prod(volume.shape[:axis]), n, -1)
                compiled(mix)(block, *_lines(n, kept), copy)


def _lines(n: int, kept: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The two lines that each line is mixed from, and the share of the second (voxel centres align)."""
    small = max(1, round(n * kept))
    nearest = np.minimum(((np.arange(small) + 0.5) * n / small).astype(np.int64), n - 1)
    position = np.clip((np.arange(n) + 0.5) * small / n - 0.5, 0, small - 1)
    first = position.astype(np.int64)
    second = np.minimum(first + 1, small - 1)
    return nearest[first], nearest[second], (position - first).astype(np.float32)
