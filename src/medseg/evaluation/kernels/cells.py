"""Points in a grid of cells, and the nearest of them for far points, a cell of those at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.machine_code import inner
from medseg.evaluation.kernels.lanes import least_square


@inner
def _cell(places: Any, k: Any, shares: Any) -> Any:
    return shares[0][places[k, 0]] + shares[1][places[k, 1]] + shares[2][places[k, 2]]


def sort_into_cells(places: Any, spacing: Any, shares: Any, starts: Any, order: Any, points: Any) -> None:
    """A counting sort by cell; the 64 cells of a block of 4 x 4 x 4 follow one another.

    Args:
        places: ``(n, 3)`` int32, voxels.
        spacing: mm per axis.
        shares: for each axis, what each coordinate adds to the number of a voxel's cell.
        starts: ``(64 * blocks + 1,)`` int64 zeros, written: the first of each cell in ``order``.
        order: ``(n,)`` int64, written: which place stands where.
        points: ``(3, n + LANES)`` float64, written: the places in mm, and infinitely far ones after them.
    """
    n = places.shape[0]
    for k in range(n):
        starts[_cell(places, k, shares) + 1] += 1
    for cell in range(starts.shape[0] - 1):
        starts[cell + 1] += starts[cell]
    for k in range(n - 1, -1, -1):
        after = _cell(places, k, shares) + 1
        starts[after] -= 1
        order[starts[after]] = k
        for axis in range(3):
            points[axis, starts[after]] = places[k, axis] * spacing[axis]
    # Filling took what was each cell's end down to its start: one place too far on.
    for cell in range(starts.shape[0] - 1):
        starts[cell] = starts[cell + 1]
    starts[starts.shape[0] - 1] = n
    points[:, n:] = np.inf


@inner
def _enclose(boxes: Any, at: Any, low: Any, high: Any) -> None:
    """Widens box ``at`` by the points or boxes ``low`` to ``high``, three numbers each."""
    for axis in range(3):
        boxes[at, axis] = min(boxes[at, axis], low[axis])
        boxes[at, axis + 3] = max(boxes[at, axis + 3], high[axis])


@inner
def _nothing(boxes: Any, at: Any) -> None:
    for axis in range(3):
        boxes[at, axis], boxes[at, axis + 3] = np.inf, -np.inf


def enclose_cells(
    points: Any, starts: Any, spans: Any, boxes: Any, block_spans: Any, block_boxes: Any
) -> Any:
    """The tight box of every cell and every block that holds a point.

    Args:
        points: ``(3, n)`` float64, sorted by cell, in mm.
        starts: as `sort_into_cells` wrote it.
        spans: ``(cells, 2)`` int64, written: first point and the one after the last.
        boxes: ``(cells, 6)`` float64, written: lowest and highest coordinates.
        block_spans: ``(blocks, 2)`` int64, written: cells.
        block_boxes: ``(blocks, 6)`` float64, written.

    Returns:
        How many cells and how many blocks.
    """
    cells = blocks = 0
    for block in range((starts.shape[0] - 1) // 64):
        if starts[64 * block] == starts[64 * block + 64]:
            continue
        block_spans[blocks, 0] = cells
        _nothing(block_boxes, blocks)
        for cell in range(64 * block, 64 * block + 64):
            if starts[cell] < starts[cell + 1]:
                spans[cells, 0], spans[cells, 1] = starts[cell], starts[cell + 1]
                _nothing(boxes, cells)
                for k in range(starts[cell], starts[cell + 1]):
                    _enclose(boxes, cells, points[:, k], points[:, k])
                _enclose(block_boxes, blocks, boxes[cells, :3], boxes[cells, 3:])
                cells += 1
        block_spans[blocks, 1] = cells
        blocks += 1
    return cells, blocks


@inner
def _least(a: Any, b: Any) -> Any:
    """The square of the least distance of two boxes."""
    total = 0.0
    for axis in range(3):
        gap = max(a[axis] - b[axis + 3], b[axis] - a[axis + 3], 0.0)
        total += gap * gap
    return total


@inner
def _most(a: Any, b: Any) -> Any:
    """The square of the greatest distance of two boxes."""
    total = 0.0
    for axis in range(3):
        gap = max(a[axis + 3] - b[axis], b[axis + 3] - a[axis])
        total += gap * gap
    return total


@inner
def _list(box: Any, boxes: Any, block_spans: Any, block_boxes: Any, cells: Any, bounds: Any) -> Any:
    """Those cells, nearest first, that can hold the nearest point of any point in ``box``."""
    n, reach = 0, np.inf
    for block in range(block_spans.shape[0]):
        reach = min(reach, _most(box, block_boxes[block]))
    for block in range(block_spans.shape[0]):
        if _least(box, block_boxes[block]) <= reach:
            for cell in range(block_spans[block, 0], block_spans[block, 1]):
                bound = _least(box, boxes[cell])
                if bound <= reach:
                    reach = min(reach, _most(box, boxes[cell]))
                    cells[n], bounds[n] = cell, bound
                    n += 1
    kept = 0
    for k in range(n):
        if bounds[k] <= reach:
            cells[kept], bounds[kept] = cells[k], bounds[k]
            kept += 1
    _sort(cells, bounds, kept)
    return kept


@inner
def _sort(cells: Any, bounds: Any, n: Any) -> None:
    """Shell's, by bound: lists are short, and nothing is allocated."""
    gap = n // 2
    while gap > 0:
        for k in range(gap, n):
            cell, bound, at = cells[k], bounds[k], k
            while at >= gap and bounds[at - gap] > bound:
                cells[at], bounds[at] = cells[at - gap], bounds[at - gap]
                at -= gap
            cells[at], bounds[at] = cell, bound
        gap //= 2


@inner
def _search(x: Any, y: Any, z: Any, targets: Any, spans: Any, boxes: Any, cell: Any, best: Any) -> Any:
    """The least squared distance, where a cell has one below ``best``."""
    a = max(boxes[cell, 0] - x, x - boxes[cell, 3], 0.0)
    b = max(boxes[cell, 1] - y, y - boxes[cell, 4], 0.0)
    c = max(boxes[cell, 2] - z, z - boxes[cell, 5], 0.0)
    if a * a + b * b + c * c < best:
        return least_square(x, y, z, targets, spans[cell, 0], spans[cell, 1], best)
    return best


def far(seekers: Any, groups: Any, group_boxes: Any, targets: Any, spans: Any, boxes: Any, block_spans: Any,
        block_boxes: Any, cells: Any, bounds: Any, distances: Any) -> None:  # fmt: skip
    """The distance of every seeker to its nearest target.

    Args:
        seekers: ``(3, n)`` float64 in mm, sorted by cell.
        groups: ``(g, 2)`` int64, the seekers of each cell.
        group_boxes: ``(g, 6)`` float64, their boxes.
        targets: ``(3, t)`` float64 in mm, sorted by cell, `LANES` infinitely far ones after the last.
        spans: ``(c, 2)`` int64, the targets of each cell.
        boxes: ``(c, 6)`` float64, their boxes.
        block_spans: ``(b, 2)`` int64, the cells of each block.
        block_boxes: ``(b, 6)`` float64, their boxes.
        cells: ``(c,)`` int64, to work in.
        bounds: ``(c,)`` float64, to work in.
        distances: ``(n,)`` float64, written.
    """
    for group in range(groups.shape[0]):
        n = _list(group_boxes[group], boxes, block_spans, block_boxes, cells, bounds)
        likely = cells[0]
        for k in range(groups[group, 0], groups[group, 1]):
            x, y, z = seekers[0, k], seekers[1, k], seekers[2, k]
            # The cell that was nearest to the last one is likely to be nearest to this: then all others fall.
            best = least_square(x, y, z, targets, spans[likely, 0], spans[likely, 1], np.inf)
            for place in range(n):
                if bounds[place] >= best:
                    break
                found = _search(x, y, z, targets, spans, boxes, cells[place], best)
                if found < best:
                    best, likely = found, cells[place]
            distances[k] = np.sqrt(best)
