"""A smooth random curve from old intensities to new ones (Zhou 2021, Models Genesis)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment.statistics import FLAT, restoring, samples, statistics
from medseg.patches.settings import AugmentationSettings

ENDS = (0.005, 0.995)
"""Shares of the voxels below the ends of a curve; what lies beyond is given the value at the end."""
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Remap:
    """What was drawn: per channel a curve, ``(C, n)`` coefficients of the powers of ``t``, 0 to 1."""

    channels: tuple[int, ...]
    coefficients: NDArray[np.float32]


def draw(rng: np.random.Generator, settings: AugmentationSettings, channels: Sequence[int]) -> Remap | None:
    """A curve for each of the ``channels``, or ``None``."""
    if rng.random() >= settings.remap_probability or not channels:
        return None
    curves = [_powers(_heights(rng, settings)) for _ in channels]
    return Remap(tuple(channels), np.stack(curves).astype(np.float32))


def _heights(rng: np.random.Generator, settings: AugmentationSettings) -> NDArray[np.float64]:
    """The control points of a Bezier curve, evenly spaced, from 0 to 1 high.

    Sorted ones make a curve that only rises, or only falls.
    """
    heights = rng.random(settings.remap_points)
    heights = (heights - heights.min()) / max(np.ptp(heights), 1e-9)
    monotone, falling = rng.random(2) < (settings.remap_monotone_probability, 0.5)
    if monotone:
        heights = np.sort(heights)[::-1] if falling else np.sort(heights)
    return heights


def _powers(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Bernstein polynomial of these heights by its powers."""
    degree = len(heights) - 1
    return np.array(
        [
            comb(degree, k) * sum((-1) ** (k - i) * comb(k, i) * heights[i] for i in range(k + 1))
            for k in range(degree + 1)
        ]
    )


def apply(image: NDArray[np.float32], remap: Remap) -> None:
    """Sends ``(M, *S)`` through the curves, in place; mean and standard deviation stay about as they were."""
    from medseg.data.machine_code import compiled
    from medseg.patches.augment.intensity_kernels import LANES, stretch

    lanes, real = np.empty(4 * LANES, np.float32), np.float32
    for channel, curve in zip(remap.channels, remap.coefficients, strict=True):
        values = image[channel].reshape(-1)
        low, high, mean, std = statistics(values, lanes)
        if high - low < FLAT:
            continue
        first, last = samples(values, ENDS).tolist()
        first, last = (first, last) if last - first >= FLAT else (low, high)
        for start in range(0, values.size, _CHUNK):
            part = values[start : start + _CHUNK]
            part -= real(first)
            part *= real(1 / (last - first))
            part[...] = _at(curve, np.clip(part, 0, 1, out=part))
        factor, offset = restoring(mean, std, *statistics(values, lanes)[2:])
        compiled(stretch)(values, real(factor), real(offset), real(-np.inf), real(np.inf))


def _at(curve: NDArray[np.float32], t: NDArray[np.float32]) -> NDArray[np.float32]:
    """The polynomial at ``t``, by Horner's rule."""
    value = np.full_like(t, curve[-1])
    for coefficient in curve[-2::-1]:
        value *= t
        value += coefficient
    return value
