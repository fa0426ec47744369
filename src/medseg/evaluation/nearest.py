"""How far each voxel of one bit mask is from the nearest of another, exactly."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]
Places = NDArray[np.int32]
Steps = tuple[float, float, float]

_NEAR = 60
"""Offsets that are tried for all voxels of a word at once, before what is left is looked up in cells."""
_CELL = 10.0
"""Edge of a cell in voxels, were they cubes; cells are about cubes in mm."""
_SHIFT = 63
"""A word can be moved no further along the last axis."""


def nearest_distances(seekers: Bits, targets: Bits, spacing: Steps) -> tuple[Places, NDArray[np.float64]]:
    """The distance in mm from every voxel of ``seekers`` to the nearest of ``targets``.

    Args:
        seekers: a bit mask without any voxel that ``targets`` has.
        targets: a bit mask of the same box with at least one voxel.
        spacing: mm per axis.

    Returns:
        The seekers' places in the mask ``(n, 3)``, and their distances ``(n,)`` in the same order.
    """
    from medseg.data.machine_code import compiled
    from medseg.evaluation.kernels.near import near

    n = int(np.bitwise_count(seekers).sum())
    places, distances = np.empty((n, 3), np.int32), np.empty(n)
    offsets, lengths = _offsets(spacing, tuple(size == 3 for size in seekers.shape[:2]))
    found = compiled(near)(seekers, targets, offsets, lengths, places, distances)
    if found < n:
        distances[found:] = _far_distances(places[found:], all_places(targets), spacing, seekers.shape)
    return places, distances


def all_places(mask: Bits) -> Places:
    """``(n, 3)``: every voxel of a bit mask."""
    from medseg.data.machine_code import compiled
    from medseg.evaluation.kernels.bit_masks import places

    found = np.empty((int(np.bitwise_count(mask).sum()), 3), np.int32)
    compiled(places)(mask, found)
    return found


@functools.lru_cache(maxsize=64)
def _offsets(spacing: Steps, flat: tuple[bool, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The shortest offsets but none, shortest first, and their lengths in mm."""
    steps = [math.inf if one else step for step, one in zip(spacing, (*flat, False), strict=True)]
    real = [step for step in steps if math.isfinite(step)]
    # A ball (disc, line) of this radius holds about as many voxels as are wanted.
    ball = {3: 4.0 * math.pi / 3.0, 2: math.pi, 1: 2.0}[len(real)]
    radius = (1.2 * _NEAR * math.prod(real) / ball) ** (1.0 / len(real))
    reach = [min(math.ceil(radius / step), _SHIFT) for step in steps]
    grids = np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij")
    offsets = np.stack(grids, axis=-1).reshape(-1, 3)
    lengths = np.sqrt(((offsets * spacing) ** 2).sum(axis=1))
    # Beyond the nearest voxel that is not in the list, an offset of the list need not be the shortest.
    sure = min((r + 1) * step for r, step in zip(reach, steps, strict=True) if math.isfinite(step))
    order = np.argsort(lengths, kind="stable")[1 : _NEAR + 1]
    order = order[lengths[order] < sure]
    return offsets[order], lengths[order]


@dataclass(frozen=True)
class _Cells:
    """Points in mm, sorted into cells and blocks of cells; see `kernels.cells`."""

    points: NDArray[np.float64]
    order: NDArray[np.int64]
    spans: NDArray[np.int64]
    boxes: NDArray[np.float64]
    block_spans: NDArray[np.int64]
    block_boxes: NDArray[np.float64]


def _in_cells(places: Places, spacing: Steps, shape: Sequence[int]) -> _Cells:
    from medseg.data.machine_code import compiled
    from medseg.evaluation.kernels.cells import enclose_cells, sort_into_cells
    from medseg.evaluation.kernels.lanes import LANES

    shares, blocks = _cell_numbers(spacing, (*shape[:2], 64 * shape[2]))
    starts, order = np.zeros(64 * blocks + 1, np.int64), np.empty(len(places), np.int64)
    points = np.empty((3, len(places) + LANES))
    compiled(sort_into_cells)(places, spacing, shares, starts, order, points)
    most = min(len(places), 64 * blocks)
    spans, boxes = np.empty((most, 2), np.int64), np.empty((most, 6))
    block_spans, block_boxes = np.empty((min(most, blocks), 2), np.int64), np.empty((min(most, blocks), 6))
    n, b = compiled(enclose_cells)(points, starts, spans, boxes, block_spans, block_boxes)
    return _Cells(points, order, spans[:n], boxes[:n], block_spans[:b], block_boxes[:b])


def _cell_numbers(spacing: Steps, size: tuple[int, ...]) -> tuple[tuple[NDArray[np.int64], ...], int]:
    """For each axis, what each coordinate adds to a voxel's cell; and how many blocks there are."""
    side = _CELL * math.prod(spacing) ** (1.0 / 3.0)
    shares: list[NDArray[np.int64]] = []
    blocks = 1
    for axis in (2, 1, 0):
        cell = np.arange(size[axis]) // max(round(side / spacing[axis]), 1)
        shares.insert(0, 64 * blocks * (cell >> 2) + 4 ** (2 - axis) * (cell & 3))
        blocks *= int(cell[-1] >> 2) + 1
    return tuple(shares), blocks


def _far_distances(
    seekers: Places, targets: Places, spacing: Steps, shape: Sequence[int]
) -> NDArray[np.float64]:
    from medseg.data.machine_code import compiled
    from medseg.evaluation.kernels.cells import far

    here, there = (_in_cells(places, spacing, shape) for places in (seekers, targets))
    cells, bounds = np.empty(len(there.spans), np.int64), np.empty(len(there.spans))
    sorted_distances, distances = np.empty(len(seekers)), np.empty(len(seekers))
    compiled(far)(
        here.points, here.spans, here.boxes, there.points, there.spans, there.boxes,
        there.block_spans, there.block_boxes, cells, bounds, sorted_distances,
    )  # fmt: skip
    distances[here.order] = sorted_distances
    return distances
