"""The warp of many samples at once, from boxes of different sizes that lie one after the other in memory.

The definition is `medseg.patches.augment.warp_torch`. Slab by slab, so that the memory it takes is bounded;
nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from medseg.patches.on_device.bending import Bend, displaced, through_rows

SLAB = 1 << 20
"""Voxels that are resampled at once, of all samples together: about 200 MB."""

NOWHERE = -(1 << 40)
"""An index so far below zero that no sum of indices brings it back: voxels outside, missing modalities."""


@dataclass(frozen=True)
class Warp:
    """The samples that are resampled: ``W`` of the batch, with one element per patch row, column and slice.

    Attributes:
        samples: their places in the batch.
        whole: ``(W, 3, P0 + P1 + P2)`` float32, see `positions`.
        part: likewise.
        size: ``(W, 3)`` int64, of the boxes.
        voxel_base: ``(W, M)`` int64: where the box of each modality begins in the packed voxels.
        code_base: ``(W,)`` int64: where it begins in the packed codes.
        bend: the displacement, ``None`` where no sample is bent.
        in_plane: whether slices stay slices.
        nearest: the nearest voxel's label instead of the argmax of the interpolated one-hot labels.
    """

    samples: tuple[int, ...]
    whole: Tensor
    part: Tensor
    size: Tensor
    voxel_base: Tensor
    code_base: Tensor
    bend: Bend | None
    in_plane: bool
    nearest: bool


@dataclass(frozen=True)
class Side:
    """One voxel that a position lies between, along one axis.

    Attributes:
        index: int64, what it adds to the index of the voxel in its box.
        weight: float32, its share; ``None`` for all of it.
    """

    index: Tensor
    weight: Tensor | None


def apply(warp: Warp, voxels: Tensor, codes: Tensor | None, image: Tensor, label: Tensor | None) -> None:
    """Fills the samples of a warp.

    Args:
        warp: which, and how.
        voxels: the packed boxes; their first element is the value outside the scan.
        codes: those of the labels.
        image: ``(B, M, P0, P1, P2)``, written in place.
        label: ``(B, P0, P1, P2)``, likewise.
    """
    patch = image.shape[2:]
    lines = None if warp.bend is None else through_rows(warp.bend)
    depth = max(1, SLAB // (len(warp.samples) * patch[1] * patch[2]))
    for first in range(0, patch[0], depth):
        rows = slice(first, min(first + depth, patch[0]))
        cells = _cells(warp, patch, rows, lines)
        values, found = _interpolated(warp, cells, voxels, None if label is None else codes)
        for place, sample in enumerate(warp.samples):
            image[sample, :, rows] = values[place]
            if label is not None and found is not None:
                label[sample, rows] = found[place]


def _cells(
    warp: Warp, patch: Sequence[int], rows: slice, lines: Tensor | None
) -> list[tuple[Tensor, Tensor | None]]:
    """Per source axis the voxel at or before each position, and how far beyond it the position lies.

    Both ``(W, rows, P1, P2)``; in-plane ``(W, rows, P1, 1)`` and the third axis ``(W, 1, 1, P2)``, exact.
    """
    moves = None if warp.bend is None or lines is None else displaced(warp.bend, lines, rows)
    cells: list[tuple[Tensor, Tensor | None]] = []
    for axis in range(2 if warp.in_plane else 3):
        whole = _along(warp.whole[:, axis], patch, rows, warp.in_plane)
        part = _along(warp.part[:, axis], patch, rows, warp.in_plane)
        if moves is not None:
            part = part + moves[:, axis]
        carried = part.floor()
        cells.append(((whole + carried).long(), part - carried))
    if warp.in_plane:
        cells.append((warp.whole[:, 2, patch[0] + patch[1] :][:, None, None].long(), None))
    return cells


def _along(table: Tensor, patch: Sequence[int], rows: slice, in_plane: bool) -> Tensor:
    """The sum of what row, column and slice add to a position: ``(W, P0 + P1 + P2)`` -> ``(W, *slab)``."""
    x, y, z = torch.split(table, list(patch), dim=1)
    plane = x[:, rows, None, None] + y[:, None, :, None]
    return plane if in_plane else plane + z[:, None, None]


def _sides(warp: Warp, cells: list[tuple[Tensor, Tensor | None]], nearest: bool) -> list[list[Side]]:
    """Per axis the voxels that count, the one at or before the position first."""
    found = []
    stride = torch.ones_like(warp.size[:, 0])
    for axis in (2, 1, 0):
        size, step = (value.view(-1, 1, 1, 1) for value in (warp.size[:, axis], stride))
        cell, share = cells[axis]
        sides = [(cell, None)] if share is None else [(cell, 1 - share), (cell + 1, share)]
        if nearest and share is not None:
            sides = [(cell + (share >= 0.5), None)]
        found.append(
            [
                Side(torch.where((voxel >= 0) & (voxel < size), voxel * step, NOWHERE), weight)
                for voxel, weight in sides
            ]
        )
        stride = stride * warp.size[:, axis]
    return found[::-1]


def _interpolated(
    warp: Warp, cells: list[tuple[Tensor, Tensor | None]], voxels: Tensor, codes: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """``(W, M, *slab)`` values and ``(W, *slab)`` codes."""
    modalities = warp.voxel_base.shape[1]
    values: Tensor | None = None
    corners, weights = [], []
    for sides in product(*_sides(warp, cells, nearest=False)):
        index, weight = _index(sides), _weight(sides)
        if values is None:
            values = voxels.new_zeros((len(index), modalities, *index.shape[1:]))
        for m in range(modalities):
            values[:, m].addcmul_(_taken(voxels, index, warp.voxel_base[:, m]), weight)
        if codes is not None and not warp.nearest:
            corners.append(_taken(codes, index, warp.code_base))
            weights.append(weight)
    assert values is not None
    if codes is None:
        return values, None
    if warp.nearest:
        (sides,) = product(*_sides(warp, cells, nearest=True))
        return values, _taken(codes, _index(sides), warp.code_base)
    return values, elected(torch.stack(corners), torch.stack(weights))


def _index(sides: Sequence[Side]) -> Tensor:
    """Of a corner in its box."""
    x, y, z = (side.index for side in sides)
    return x + y + z


def _weight(sides: Sequence[Side]) -> Tensor:
    """Of a corner: the product of its shares."""
    first, *others = [side.weight for side in sides if side.weight is not None]
    for weight in others:
        first = first * weight
    return first


def _taken(packed: Tensor, index: Tensor, base: Tensor) -> Tensor:
    """The elements at an index of each sample's box; what is nowhere is the first element of all."""
    return packed.take((index + base.view(-1, 1, 1, 1)).clamp_(min=0))


def elected(codes: Tensor, weights: Tensor) -> Tensor:
    """The argmax of the interpolated one-hot labels, without ever making them; of equals the first corner's.

    Args:
        codes: ``(K, ...)`` uint8, of the corners.
        weights: ``(K, ...)`` float32, their shares.
    """
    winner = codes[0]
    best: Tensor | None = None
    for code in codes:
        total = torch.where(codes == code, weights, 0.0).sum(0)
        if best is not None:
            winner = torch.where(total > best, code, winner)
            total = torch.maximum(best, total)
        best = total
    return winner
