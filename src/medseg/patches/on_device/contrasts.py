"""New contrasts, row by row: a row is one modality of one sample, ``(R, *S)`` all of them.

The definitions are those of ``synthesis`` and ``remap`` in `medseg.patches.augment`; the normals are the
device's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.contracts import IGNORE
from medseg.patches.augment.blur import Blur
from medseg.patches.augment.noise import Noise
from medseg.patches.augment.remap import ENDS, Remap
from medseg.patches.augment.statistics import FLAT, LEAST_STD, places, stride
from medseg.patches.augment.synthesis import GROUPS, Synthesis
from medseg.patches.on_device import filters, noise
from medseg.patches.settings import MOST_CLUSTERS


def tables(changes: Sequence[Synthesis]) -> NDArray[np.float32]:
    """``(R, ...)`` side by side: the levels, the means, the standard deviations, the taps of the blur."""
    blurs = [Blur(change.channels, change.sigma, change.axes) for change in changes]
    parts = [np.concatenate([getattr(c, name) for c in changes]) for name in ("levels", "mean", "std")]
    return np.concatenate([*parts, filters.taps(blurs)], axis=1)


def curves(changes: Sequence[Remap]) -> NDArray[np.float32]:
    """``(R, n)``."""
    return np.concatenate([change.coefficients for change in changes])


def seeds(changes: Sequence[Synthesis]) -> tuple[int, ...]:
    """Of the normals, one per row."""
    return noise.seeds([Noise(change.channels, 1.0, change.seed) for change in changes])


def synthesise(
    rows: Tensor, tables: Tensor, codes: Tensor | None, axes: Sequence[int], seeds: Sequence[int]
) -> Tensor:
    """Replaced by Gaussians; ``codes`` ``(R, *S)`` are the labels, ``None`` leaves clusters alone."""
    levels, means, stds, taps = tables.split_with_sizes(
        [MOST_CLUSTERS - 1, GROUPS, GROUPS, tables.shape[1] - MOST_CLUSTERS + 1 - 2 * GROUPS], dim=1
    )
    groups = _groups(rows, _borders(rows, levels), codes)
    normal = noise.add(torch.zeros_like(rows), torch.ones(len(rows), device=rows.device), seeds)
    made = normal.flatten(1).mul_(stds.gather(1, groups)).add_(means.gather(1, groups)).view(rows.shape)
    return _restored(rows, filters.blur(made, taps, axes))


def _borders(rows: Tensor, levels: Tensor) -> Tensor:
    """``(R, MOST_CLUSTERS - 1)`` the values between clusters; of equal ones, and where none is, infinity."""
    few = _samples(rows)
    place = (levels.clamp(max=1).double() * (few.shape[1] - 1)).long()
    limits = few.gather(1, place).masked_fill(levels > 1, torch.inf)
    again = torch.zeros_like(limits, dtype=torch.bool)
    again[:, 1:] = limits[:, 1:] == limits[:, :-1]
    return limits.masked_fill(again, torch.inf)


def _groups(rows: Tensor, limits: Tensor, codes: Tensor | None) -> Tensor:
    """``(R, n)`` int64 the group of each voxel."""
    values = rows.flatten(1)
    groups = torch.zeros(values.shape, dtype=torch.int64, device=rows.device)
    for limit in limits.unbind(1):
        groups += values > limit[:, None]
    if codes is None:
        return groups
    flat = codes.flatten(1).long()
    return torch.where((flat == 0) | (flat == IGNORE), groups, flat + MOST_CLUSTERS)


def send(rows: Tensor, curves: Tensor) -> Tensor:
    """Sent through a curve; what lies beyond its ends is given the value there."""
    low, high = (end[:, None] for end in rows.flatten(1).aminmax(dim=1))
    few = _samples(rows)
    first, last = (few[:, place, None] for place in places(ENDS, few.shape[1]).tolist())
    narrow = last - first < FLAT
    first, last = torch.where(narrow, low, first), torch.where(narrow, high, last)
    t = ((rows.flatten(1) - first) / (last - first)).clamp_(0, 1)
    value = curves[:, -1:].expand_as(t)
    for power in range(curves.shape[1] - 2, -1, -1):
        value = torch.addcmul(curves[:, power, None], value, t)
    return _restored(rows, value.view(rows.shape))


def _samples(rows: Tensor) -> Tensor:
    """``(R, k)`` some of the values of each row, in order."""
    values = rows.flatten(1)
    return values[:, :: stride(values.shape[1])].sort(dim=1).values


def _restored(rows: Tensor, made: Tensor) -> Tensor:
    """``made`` with about the mean and standard deviation of ``rows``; constant rows stay as they were."""
    old, new = rows.flatten(1), made.flatten(1)
    factor = old.std(1, correction=0) / new.std(1, correction=0).clamp_(min=LEAST_STD)
    scaled = torch.addcmul(old.mean(1)[:, None], new - new.mean(1)[:, None], factor[:, None])
    low, high = old.aminmax(dim=1)
    return torch.where((high - low < FLAT)[:, None], old, scaled).view(rows.shape)
