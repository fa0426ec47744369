"""A contrast that no scanner made: random Gaussians per label and cluster (Billot 2023, SynthSeg).

SynthSeg has a label for all of the anatomy; here most of it is background, which is therefore split by
the intensities of the image that is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE
from medseg.patches.augment import blur, noise
from medseg.patches.augment.draws import uniform
from medseg.patches.augment.statistics import FLAT, restoring, samples, statistics
from medseg.patches.settings import MOST_CLUSTERS, AugmentationSettings

GROUPS = MOST_CLUSTERS + 256
"""Clusters first, then the 256 codes; those of background and of ignored voxels go unused."""
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Synthesis:
    """What was drawn, a row per channel.

    Attributes:
        channels: the images that are replaced.
        levels: ``(C, MOST_CLUSTERS - 1)`` share of the voxels that lie below each border between clusters,
            rising; above 1 there is none.
        mean: ``(C, GROUPS)`` of each cluster and code, before the image gets its old mean and standard
            deviation back.
        std: likewise.
        sigma: of the blur, in voxels.
        axes: the spatial axes that are blurred.
        seed: of the normals.
    """

    channels: tuple[int, ...]
    levels: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    sigma: tuple[float, ...]
    axes: tuple[int, ...]
    seed: int


def draw(
    rng: np.random.Generator, settings: AugmentationSettings, channels: Sequence[int], axes: Sequence[int]
) -> Synthesis | None:
    """Another contrast for each of the ``channels``, or ``None``."""
    if rng.random() >= settings.synthesis_probability or not channels:
        return None
    shape = (len(channels), GROUPS)
    return Synthesis(
        tuple(channels),
        np.stack([_levels(rng, settings) for _ in channels]),
        rng.uniform(*settings.synthesis_mean, shape).astype(np.float32),
        rng.uniform(*settings.synthesis_std, shape).astype(np.float32),
        tuple(uniform(rng, settings.synthesis_blur) for _ in channels),
        tuple(axes),
        int(rng.integers(1 << 63)),
    )


def _levels(rng: np.random.Generator, settings: AugmentationSettings) -> NDArray[np.float32]:
    """Borders of clusters of about equal size: each may lie up to half a cluster aside."""
    low, high = settings.synthesis_clusters
    count = int(rng.integers(low, high, endpoint=True))
    levels = np.full(MOST_CLUSTERS - 1, 2, np.float32)
    levels[: count - 1] = (np.arange(1, count) + rng.uniform(-0.5, 0.5, count - 1)) / count
    return levels


def apply(image: NDArray[np.float32], synthesis: Synthesis, label: NDArray[np.uint8] | None) -> None:
    """Replaces ``(M, *S)``, in place; ``label`` ``(*S)`` are codes, ``None`` leaves clusters alone.

    Mean and standard deviation stay about as they were, as normalisation has left them. An image that is
    constant stays as it is.
    """
    from medseg.data.machine_code import compiled
    from medseg.patches.augment.intensity_kernels import LANES, stretch

    lanes, real = np.empty(4 * LANES, np.float32), np.float32
    for row, channel in enumerate(synthesis.channels):
        values = image[channel].reshape(-1)
        low, high, mean, std = statistics(values, lanes)
        if high - low < FLAT:
            continue
        groups = _groups(values, borders(values, synthesis.levels[row]), label)
        values[...] = 0
        noise.apply(image, noise.Noise((channel,), 1.0, synthesis.seed))
        for part in _parts(values.size):
            values[part] *= synthesis.std[row].take(groups[part])
            values[part] += synthesis.mean[row].take(groups[part])
        blur.apply(image, blur.Blur((channel,), (synthesis.sigma[row],), synthesis.axes))
        factor, offset = restoring(mean, std, *statistics(values, lanes)[2:])
        compiled(stretch)(values, real(factor), real(offset), real(-np.inf), real(np.inf))


def borders(values: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values between clusters, rising, no two the same: what most voxels share is one cluster."""
    return np.unique(samples(values, levels[levels <= 1]))


def _groups(
    values: NDArray[np.float32], limits: NDArray[np.float32], label: NDArray[np.uint8] | None
) -> NDArray[np.uint16]:
    """``(n,)`` the group of each voxel: its label's, or its cluster's where it has none."""
    groups = np.zeros(values.size, np.uint16)
    codes = None if label is None else label.reshape(-1)
    for part in _parts(values.size):
        here = groups[part]
        for limit in limits:
            here += values[part] > limit
        if codes is not None:
            labelled = (codes[part] != 0) & (codes[part] != IGNORE)
            np.add(codes[part], MOST_CLUSTERS, out=here, where=labelled, dtype=np.uint16)
    return groups


def _parts(count: int) -> Iterator[slice]:
    """Few enough voxels at once that no copy leaves the cache."""
    for start in range(0, count, _CHUNK):
        yield slice(start, start + _CHUNK)
