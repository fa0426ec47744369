"""The compiled loops of the warp through all axes; `warp_torch` is the same in plain torch.

Positions are float64, weights float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment.machine_code import inner

Array = NDArray[Any]
Bending = tuple[Array, Array, Array, Array, Array]


@inner
def vote(codes: Array, weights: Array, corners: int) -> Any:
    """The code with the largest total weight; of equals the first corner's."""
    best, winner = np.float32(-1), codes[0]
    for k in range(corners):
        total = np.float32(0)
        for j in range(corners):
            if codes[j] == codes[k]:
                total += weights[j]
        if total > best:
            best, winner = total, codes[k]
    return winner


@inner
def bend(plane: Array, first: int, weight: Array, row: Array) -> None:
    """Contracts one axis of the control points: ``plane`` ``(3, C, n)`` -> ``row`` ``(3, n)``."""
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    for c in range(3):
        for z in range(row.shape[1]):
            row[c, z] = (
                w0 * plane[c, first, z]
                + w1 * plane[c, first + 1, z]
                + w2 * plane[c, first + 2, z]
                + w3 * plane[c, first + 3, z]
            )


@inner
def _locate(
    begin: Array, step: Array, row: Array, bent: bool, shape: Array, where: Array, base: Array
) -> None:
    """Source positions of a row of voxels -> ``where`` ``(3, n)`` and the flat index of their first corner.

    ``base`` is -1 where one of the eight corners is outside the source.
    """
    limits = shape - 1.0
    for z in range(base.shape[0]):
        where[0, z] = begin[0] + step[0] * z
        where[1, z] = begin[1] + step[1] * z
        where[2, z] = begin[2] + step[2] * z
    if bent:
        for c in range(3):
            for z in range(base.shape[0]):
                where[c, z] += row[c, z]
    for z in range(base.shape[0]):
        x, y, w = where[0, z], where[1, z], where[2, z]
        inside = (x >= 0) & (y >= 0) & (w >= 0) & (x < limits[0]) & (y < limits[1]) & (w < limits[2])
        flat = (np.floor(x) * shape[1] + np.floor(y)) * shape[2] + np.floor(w)
        base[z] = np.int64(flat if inside else -1.0)


@inner
def _weights_at(x: float, y: float, z: float, weights: Array) -> None:
    fx, fy, fz = np.float32(x - np.floor(x)), np.float32(y - np.floor(y)), np.float32(z - np.floor(z))
    one = np.float32(1)
    for k in range(8):
        wx = fx if k & 4 else one - fx
        wy = fy if k & 2 else one - fy
        wz = fz if k & 1 else one - fz
        weights[k] = wx * wy * wz


@inner
def _corner(x: float, y: float, z: float, k: int, shape: Array) -> Any:
    """The flat index of corner k of the cell around a position, -1 outside the source."""
    i, j, l = np.floor(x) + (k >> 2), np.floor(y) + ((k >> 1) & 1), np.floor(z) + (k & 1)  # noqa: E741
    # Written so that a position that is not a number is outside too.
    inside = (i >= 0) & (j >= 0) & (l >= 0) & (i < shape[0]) & (j < shape[1]) & (l < shape[2])
    return np.int64((i * shape[1] + j) * shape[2] + l if inside else -1.0)


@inner
def _image_row(flat: Array, h: Any, d: Any, shape: Array, where: Array, base: Array, out: Array) -> None:
    """Trilinear interpolation of one row of one channel; 0 outside the source."""
    s1, s2 = np.uint64(d), np.uint64(h * d)
    s3 = s1 + s2
    one = np.uint64(1)
    weights = np.empty(8, np.float32)
    for z in range(base.shape[0]):
        px, py, pz = where[0, z], where[1, z], where[2, z]
        if base[z] >= 0:
            b = np.uint64(base[z])
            fx = np.float32(px - np.floor(px))
            fy = np.float32(py - np.floor(py))
            fz = np.float32(pz - np.floor(pz))
            v0, v1, v2, v3 = flat[b], flat[b + s1], flat[b + s2], flat[b + s3]
            v0 += fz * (flat[b + one] - v0)
            v1 += fz * (flat[b + s1 + one] - v1)
            v2 += fz * (flat[b + s2 + one] - v2)
            v3 += fz * (flat[b + s3 + one] - v3)
            v0 += fy * (v1 - v0)
            v2 += fy * (v3 - v2)
            out[z] = v0 + fx * (v2 - v0)
        else:
            _weights_at(px, py, pz, weights)
            total = np.float32(0)
            for k in range(8):
                at = _corner(px, py, pz, k, shape)
                if at >= 0:
                    total += weights[k] * flat[np.uint64(at)]
            out[z] = total


@inner
def _first_wins(codes: Array, weights: Array) -> Any:
    """Whether the first corner's code has more than half of the weight: then nothing else can win."""
    share = np.float32(0)
    for k in range(8):
        share += weights[k] if codes[k] == codes[0] else np.float32(0)
    return share > 0.5


@inner
def _label_row(
    flat: Array,
    h: Any,
    d: Any,
    shape: Array,
    where: Array,
    base: Array,
    nearest: bool,
    outside: int,
    out: Array,
) -> None:
    """The argmax of the interpolated one-hot labels (or the nearest label) of one row."""
    s1, s2 = np.uint64(d), np.uint64(h * d)
    s3 = s1 + s2
    one = np.uint64(1)
    weights, codes = np.empty(8, np.float32), np.empty(8, np.uint8)
    for z in range(base.shape[0]):
        px, py, pz = where[0, z], where[1, z], where[2, z]
        if nearest:
            at = _corner(np.floor(px + 0.5), np.floor(py + 0.5), np.floor(pz + 0.5), 0, shape)
            out[z] = flat[np.uint64(at)] if at >= 0 else outside
            continue
        if base[z] >= 0:
            b = np.uint64(base[z])
            c0, c1, c2, c3 = flat[b], flat[b + one], flat[b + s1], flat[b + s1 + one]
            c4, c5, c6, c7 = flat[b + s2], flat[b + s2 + one], flat[b + s3], flat[b + s3 + one]
            out[z] = c0
            if not ((c0 ^ c1) | (c0 ^ c2) | (c0 ^ c3) | (c0 ^ c4) | (c0 ^ c5) | (c0 ^ c6) | (c0 ^ c7)):
                continue  # most cells have one code
            codes[0], codes[1], codes[2], codes[3] = c0, c1, c2, c3
            codes[4], codes[5], codes[6], codes[7] = c4, c5, c6, c7
        else:
            for k in range(8):
                at = _corner(px, py, pz, k, shape)
                codes[k] = flat[np.uint64(at)] if at >= 0 else outside
        _weights_at(px, py, pz, weights)
        out[z] = codes[0] if _first_wins(codes, weights) else vote(codes, weights, 8)


def warp_volume(
    image: Array,
    label: Array,
    channels: Array,
    affine: Array,
    bending: Bending,
    nearest: bool,
    outside: int,
    out_image: Array,
    out_label: Array,
) -> None:
    """Fills a patch: image and label at ``affine @ (p, 1) + displacement(p)``.

    Args:
        image: ``(M, W * H * D)`` float32, flattened per channel.
        label: ``(W * H * D,)`` uint8, or empty.
        channels: those to fill.
        affine: ``(4, 4)`` float64; its last row holds the source's shape.
        bending: ``(3, X, Y, P2)`` float32 control points, the last axis already evaluated, or empty; then
            ``first`` and ``weight`` of `bspline.weights` for x and for y.
        nearest, outside: see `spatial.Rules`.
        out_image: ``(M, P0, P1, P2)``.
        out_label: ``(P0, P1, P2)``.
    """
    shape = affine[3, :3].copy()
    h, d = np.int64(shape[1]), np.int64(shape[2])
    n0, n1, n2 = out_image.shape[1:]
    planes, first_x, weight_x, first_y, weight_y = bending
    bent = planes.size > 0
    plane = np.empty((3, planes.shape[2], n2), np.float32)
    row = np.empty((3, n2), np.float32)
    where, base, begin = np.empty((3, n2)), np.empty(n2, np.int64), np.empty(3)
    step = affine[:3, 2].copy()
    for x in range(n0):
        if bent:
            for j in range(planes.shape[2]):
                bend(planes[:, :, j], first_x[x], weight_x[x], plane[:, j])
        for y in range(n1):
            for c in range(3):
                begin[c] = affine[c, 3] + affine[c, 0] * x + affine[c, 1] * y
            if bent:
                bend(plane, first_y[y], weight_y[y], row)
            _locate(begin, step, row, bent, shape, where, base)
            for m in channels:
                _image_row(image[m], h, d, shape, where, base, out_image[m, x, y])
            if label.size > 0:
                _label_row(label, h, d, shape, where, base, nearest, outside, out_label[x, y])
