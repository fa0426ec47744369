"""The compiled loops of the warp through all axes; `warp_torch` is the same in plain torch.

Positions are float64, weights float32. A row of the patch is located as a whole; then its runs of voxels
whose cells are within the source take loops without a branch, and the border a slow path of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.machine_code import inner, rare
from medseg.patches.augment.kernel_types import Array, Bending, Case, Patch, Row, Scratch, Steps
from medseg.patches.augment.label_kernels import corner_weights, label_run, vote
from medseg.patches.augment.lanes import LANES, interpolate

_BEYOND = -2
"""Instead of an index: all corners of a cell are outside the source; -1 means some of them."""


@inner
def bend_plane(bending: Bending, x: int) -> None:
    """Contracts the control points' first axis: ``control`` ``(3, X, Y, n)`` -> ``plane`` ``(3, Y, n)``."""
    control, plane, first, weight = bending.control, bending.plane, bending.first_x[x], bending.weight_x[x]
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    for c in range(3):
        for j in range(plane.shape[1]):
            for z in range(plane.shape[2]):
                left = w0 * control[c, first, j, z] + w1 * control[c, first + 1, j, z]
                plane[c, j, z] = left + (w2 * control[c, first + 2, j, z] + w3 * control[c, first + 3, j, z])


@inner
def bend_row(bending: Bending, y: int, shift: Array) -> None:
    """Contracts the second: ``plane`` ``(3, Y, n)`` -> ``shift`` ``(3, n)``."""
    plane, first, weight = bending.plane, bending.first_y[y], bending.weight_y[y]
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    for c in range(3):
        for z in range(plane.shape[2]):
            left = w0 * plane[c, first, z] + w1 * plane[c, first + 1, z]
            shift[c, z] = left + (w2 * plane[c, first + 2, z] + w3 * plane[c, first + 3, z])


@inner
def _locate(case: Case, affine: Array, row: Row) -> Any:
    """Fills ``base`` and ``share`` of a row; returns how many of its cells are within the source."""
    b0, b1, b2 = row.begin[0], row.begin[1], row.begin[2]
    d0, d1, d2 = affine[0, 2], affine[1, 2], affine[2, 2]
    n0, n1, n2 = case.size[0], case.size[1], case.size[2]
    m0, m1, m2 = n0 if case.thin else n0 - 1.0, n1 - 1.0, n2 - 1.0
    base, share, shift = row.base, row.share, row.shift
    within = 0
    for z in range(base.shape[0]):
        x, y, w = b0 + d0 * z + shift[0, z], b1 + d1 * z + shift[1, z], b2 + d2 * z + shift[2, z]
        i, j, l = np.floor(x), np.floor(y), np.floor(w)  # noqa: E741
        share[0, z], share[1, z], share[2, z] = x - i, y - j, w - l
        # Written so that a position that is not a number is beyond.
        inside = (x >= 0) & (y >= 0) & (w >= 0) & (x < m0) & (y < m1) & (w < m2)
        near = (x > -1) & (y > -1) & (w > -1) & (x < n0) & (y < n1) & (w < n2)
        base[z] = np.int64((i * n1 + j) * n2 + l if inside else (-1.0 if near else -2.0))
        within += 1 if inside else 0
    return within


@inner
def _image_run(
    case: Case, m: int, row: Row, low: Any, high: Any, steps: Steps, patch: Patch, at: Any
) -> None:
    """Trilinear interpolation of voxels ``low`` to ``high`` of a row of channel ``m``."""
    image, base, share = case.image, row.base, row.share
    offset = m * (image.size // case.channels.size)
    at += m * (patch.image.size // case.channels.size)
    out = patch.image[at : at + base.size]
    z = low
    while z + LANES <= high:
        interpolate(image, offset, base, share, z, steps, out)
        z += LANES
    if z < high and high - low >= LANES:  # some twice, to the same value
        interpolate(image, offset, base, share, high - LANES, steps, out)
        z = high
    for k in range(z, high):
        b = np.uint64(offset + base[k])
        t1, t2, one = np.uint64(steps[0]), np.uint64(steps[1]), np.uint64(1)
        fx, fy, fz = share[0, k], share[1, k], share[2, k]
        v0, v1, v2, v3 = image[b], image[b + t1], image[b + t2], image[b + t1 + t2]
        v0 += fz * (image[b + one] - v0)
        v1 += fz * (image[b + t1 + one] - v1)
        v2 += fz * (image[b + t2 + one] - v2)
        v3 += fz * (image[b + t1 + t2 + one] - v3)
        v0 += fy * (v1 - v0)
        v2 += fy * (v3 - v2)
        out[np.uint64(k)] = v0 + fx * (v2 - v0)


@inner
def _run(
    case: Case, row: Row, low: Any, high: Any, steps: Steps, scratch: Scratch, patch: Patch, at: Any
) -> None:
    """Voxels ``low`` to ``high`` of a row, whose cells are all within the source."""
    for m in range(case.channels.size):
        if case.channels[m]:
            _image_run(case, m, row, low, high, steps, patch, at)
    if case.label.size > 0:
        label_run(case, row, low, high, steps, scratch, patch, at)


@rare
def _corners(case: Case, affine: Array, row: Row, z: int, nearest: bool, scratch: Scratch) -> None:
    """Indices (-1 outside the source) and weights of the corners of a voxel's cell."""
    size, corners = case.size, scratch.corners
    x = row.begin[0] + affine[0, 2] * z + row.shift[0, z]
    y = row.begin[1] + affine[1, 2] * z + row.shift[1, z]
    w = row.begin[2] + affine[2, 2] * z + row.shift[2, z]
    i, j, l = np.floor(x), np.floor(y), np.floor(w)  # noqa: E741
    fx, fy, fz = np.float32(x - i), np.float32(y - j), np.float32(w - l)
    if nearest:
        fx, fy, fz = np.float32(fx >= 0.5), np.float32(fy >= 0.5), np.float32(fz >= 0.5)
    corner_weights(fx, fy, fz, scratch.weights)
    for k in range(8):
        a, b, c = i + (k >> 2), j + ((k >> 1) & 1), l + (k & 1)
        inside = (a >= 0) & (b >= 0) & (c >= 0) & (a < size[0]) & (b < size[1]) & (c < size[2])
        corners[k] = np.int64((a * size[1] + b) * size[2] + c if inside else -1.0)


@rare
def _border(case: Case, affine: Array, row: Row, z: int, scratch: Scratch, patch: Patch, at: int) -> None:
    """One voxel at the border: 0 and ``outside`` stand for the corners beyond."""
    corners, weights, codes = scratch.corners, scratch.weights, scratch.codes
    _corners(case, affine, row, z, False, scratch)
    volume, written = case.image.size // case.channels.size, patch.image.size // case.channels.size
    for m in range(case.channels.size):
        if case.channels[m]:
            total = np.float32(0)
            for k in range(8):
                if corners[k] >= 0:
                    total += weights[k] * case.image[m * volume + corners[k]]
            patch.image[m * written + at] = total
    if case.label.size > 0:
        if patch.nearest:
            _corners(case, affine, row, z, True, scratch)
        for k in range(8):
            codes[k] = case.label[corners[k]] if corners[k] >= 0 else patch.outside
        patch.label[at] = vote(codes, weights, 8)


@inner
def _beyond(case: Case, patch: Patch, at: int) -> None:
    """One voxel that shows nothing of the source."""
    written = patch.image.size // case.channels.size
    for m in range(case.channels.size):
        patch.image[m * written + at] = 0
    if case.label.size > 0:
        patch.label[at] = patch.outside


@inner
def _fill(
    case: Case,
    affine: Array,
    row: Row,
    whole: bool,
    steps: Steps,
    scratch: Scratch,
    patch: Patch,
    at: int,
) -> None:
    """One row of the patch, from voxel ``at`` on; ``whole`` if all of it is within the source."""
    n, z = row.base.shape[0], 0
    while z < n:
        end = n if whole else z
        while end < n and row.base[end] >= 0:
            end += 1
        if end > z:
            _run(case, row, z, end, steps, scratch, patch, at)
            z = end
        elif row.base[z] == _BEYOND:
            _beyond(case, patch, at + z)
            z += 1
        else:
            _border(case, affine, row, z, scratch, patch, at + z)
            z += 1


@inner
def _steps(case: Case, affine: Array, patch: Patch) -> Any:
    _, n1, n2 = patch.shape
    s1 = np.int64(case.size[2])
    s2 = s1 * np.int64(case.size[1])
    # As many planes of the patch ahead as a core's cache may hold beside what is read now.
    planes = min(8, max(1, 40_000 // (n1 * n2)))
    x, y, w = planes * affine[0, 0], planes * affine[1, 0], planes * affine[2, 0]
    if case.thin:
        s2 = np.int64(0)
    return s1, s2, np.int64(np.rint(x)) * s2 + np.int64(np.rint(y)) * s1 + np.int64(np.rint(w))


def warp_volume(
    case: Case, affine: Array, bending: Bending, row: Row, scratch: Scratch, patch: Patch
) -> None:
    """Fills a patch: image and label at ``affine @ (p, 1) + displacement(p)``, ``affine`` ``(3, 4)``."""
    n0, n1, n2 = patch.shape
    bent, steps = bending.control.size > 0, _steps(case, affine, patch)
    for x in range(n0):
        if bent:
            bend_plane(bending, x)
        for y in range(n1):
            for c in range(3):
                row.begin[c] = affine[c, 3] + affine[c, 0] * x + affine[c, 1] * y
            if bent:
                bend_row(bending, y, row.shift)
            within = _locate(case, affine, row)
            _fill(case, affine, row, within == n2, steps, scratch, patch, (x * n1 + y) * n2)
