"""Displacements of all samples at once from B-spline control points (`medseg.patches.augment.bspline`).

Sums of four terms and no matrix products: those may run in reduced precision on a GPU, and geometry must not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from medseg.patches.augment import bspline
from medseg.patches.augment.spatial import Elastic


@dataclass(frozen=True)
class Basis:
    """What each voxel of an axis takes from the control points ``first`` ``(n,)`` int64 and the three next.

    ``weight`` is ``(n, 4)`` float32.
    """

    first: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Bend:
    """Control points ``(W, 3, X, Y, Z)`` float32 in source voxels, zero where a sample is not bent.

    ``bases`` has one `Basis` per axis; in-plane there are two, and ``Z`` is 1.
    """

    control: Tensor
    bases: tuple[Basis, ...]


@lru_cache(maxsize=16)
def _basis(voxels: int, interval: float) -> Basis:
    first, weight = bspline.weights(voxels, interval)
    return Basis(torch.from_numpy(first), torch.from_numpy(weight))


def bend_of(elastics: Sequence[Elastic | None], patch: Sequence[int]) -> Bend | None:
    """The displacement of some samples of one queue, ``None`` where none of them is bent.

    Raises:
        ValueError: their control points are not equally far apart.
    """
    bent = [elastic for elastic in elastics if elastic is not None]
    if not bent:
        return None
    shape, interval = bent[0].control.shape, bent[0].interval
    if any(elastic.control.shape != shape or elastic.interval != interval for elastic in bent):
        raise ValueError("the control points of a batch are not equally far apart")
    control = np.zeros((len(elastics), *shape), np.float32)
    for place, elastic in enumerate(elastics):
        if elastic is not None:
            control[place] = elastic.control
    axes = 2 if shape[3] == 1 else 3
    bases = tuple(_basis(n, h) for n, h in zip(patch[:axes], interval[:axes], strict=True))
    return Bend(torch.from_numpy(control), bases)


def through_rows(bend: Bend) -> Tensor:
    """The field between control points of the first axis only: ``(W, 3, X, P1, P2)``, in-plane ``P2`` = 1."""
    field = bend.control
    for axis in range(len(bend.bases) - 1, 0, -1):
        field = _contracted(field, bend.bases[axis], axis + 2)
    return field


def displaced(bend: Bend, lines: Tensor, rows: slice) -> Tensor:
    """The displacement of some rows of voxels, in source voxels: ``(W, 3, rows, P1, P2)``."""
    basis = bend.bases[0]
    return _contracted(lines, Basis(basis.first[rows], basis.weight[rows]), 2)


def _contracted(field: Tensor, basis: Basis, axis: int) -> Tensor:
    """One axis of control points becomes one of voxels."""
    shape = [1] * field.ndim
    shape[axis] = -1
    total = field.index_select(axis, basis.first) * basis.weight[:, 0].reshape(shape)
    for k in range(1, 4):
        total.addcmul_(field.index_select(axis, basis.first + k), basis.weight[:, k].reshape(shape))
    return total
