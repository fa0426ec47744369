"""The compiled loops of the warp within slices; `warp_torch` is the same in plain torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.machine_code import inner, rare
from medseg.patches.augment.kernel_types import Array, Bending, Case, Patch, Row, Scratch
from medseg.patches.augment.label_kernels import vote
from medseg.patches.augment.volume_kernels import bend_plane, bend_row


@inner
def _cell(x: float, y: float, size: Array, nearest: bool, corners: Array, weights: Array) -> Any:
    """Flat indices of the four corners around a position (-1 outside) and weights; whether all are inside."""
    i, j = np.floor(x), np.floor(y)
    fx, fy = np.float32(x - i), np.float32(y - j)
    one, within = np.float32(1), True
    if nearest:
        fx, fy = np.float32(fx >= 0.5), np.float32(fy >= 0.5)
    for k in range(4):
        a, b = i + (k >> 1), j + (k & 1)
        inside = (a >= 0) & (b >= 0) & (a < size[0]) & (b < size[1])
        corners[k] = np.int64((a * size[1] + b) * size[2] if inside else -1.0)
        weights[k] = (fx if k & 2 else one - fx) * (fy if k & 1 else one - fy)
        within &= inside
    return within


@inner
def _image_columns(
    image: Array, begin: Any, corners: Array, weights: Array, within: bool, out: Array
) -> None:
    """Bilinear interpolation of one column of slices; the corners' begin at ``corners + begin``."""
    n = out.size
    if within:
        w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
        c0, c1, c2, c3 = corners[0] + begin, corners[1] + begin, corners[2] + begin, corners[3] + begin
        v0, v1, v2, v3 = image[c0 : c0 + n], image[c1 : c1 + n], image[c2 : c2 + n], image[c3 : c3 + n]
        for z in range(n):
            out[z] = (w0 * v0[z] + w1 * v1[z]) + (w2 * v2[z] + w3 * v3[z])
        return
    out[:] = 0
    for k in range(4):
        if corners[k] >= 0:
            v = image[corners[k] + begin : corners[k] + begin + n]
            for z in range(n):
                out[z] += weights[k] * v[z]


@inner
def _winner(codes: Array, weights: Array) -> Any:
    """`vote` of four corners; where one of two codes wins, its weight alone is looked at."""
    first, share, other = codes[0], weights[0], codes[0]
    several = False
    for k in range(1, 4):
        same = codes[k] == first
        several |= (not same) & (other != first) & (codes[k] != other)
        share += weights[k] if same else np.float32(0)
        other = other if same else codes[k]
    if several and share < 0.5:
        return vote(codes, weights, 4)
    return first if share >= 0.5 else other


@rare
def _border_columns(label: Array, begin: Any, scratch: Scratch, outside: int, out: Array) -> None:
    """One column of slices of which not all corners are within the source."""
    for z in range(out.size):
        for k in range(4):
            at = scratch.corners[k]
            scratch.codes[k] = label[at + begin + z] if at >= 0 else outside
        out[z] = _winner(scratch.codes, scratch.weights)


@inner
def _label_columns(label: Array, begin: Any, scratch: Scratch, out: Array) -> None:
    """The argmax of the interpolated one-hot labels of one column of slices within the source."""
    n, corners, differ, codes, any_differs = (
        out.size,
        scratch.corners,
        scratch.differ,
        scratch.codes,
        np.uint8(0),
    )
    c0, c1, c2, c3 = corners[0] + begin, corners[1] + begin, corners[2] + begin, corners[3] + begin
    v0, v1, v2, v3 = label[c0 : c0 + n], label[c1 : c1 + n], label[c2 : c2 + n], label[c3 : c3 + n]
    for z in range(n):
        code = v0[z]
        out[z] = code
        differ[z] = np.uint8((code ^ v1[z]) | (code ^ v2[z]) | (code ^ v3[z]))
        any_differs |= differ[z]
    if any_differs != 0:
        for z in range(n):
            if differ[z] != 0:
                codes[0], codes[1], codes[2], codes[3] = v0[z], v1[z], v2[z], v3[z]
                out[z] = _winner(codes, scratch.weights)


def warp_slices(
    case: Case, affine: Array, bending: Bending, row: Row, scratch: Scratch, patch: Patch
) -> None:
    """`warp_volume` for changes within the first two axes: all slices of a patch move alike.

    ``affine[2, 3]`` is the whole number of the first slice; the control points are ``(3, X, Y, 1)``.
    Only slices within the source are written.
    """
    n0, n1, n2 = patch.shape
    size, bent, modalities = case.size, bending.control.size > 0, case.channels.size
    volume, written = case.image.size // modalities, n0 * n1 * n2
    shift, slices = int(affine[2, 3]), int(size[2])
    near = max(0, min(n2, -shift))
    far = max(near, min(n2, slices - shift))
    begin, moved = shift + near, row.shift
    corners, weights = scratch.corners, scratch.weights
    for x in range(n0):
        if bent:
            bend_plane(bending, x)
        for y in range(n1):
            if bent:
                bend_row(bending, y, moved)
            px = affine[0, 3] + affine[0, 0] * x + affine[0, 1] * y + moved[0, 0]
            py = affine[1, 3] + affine[1, 0] * x + affine[1, 1] * y + moved[1, 0]
            within = _cell(px, py, size, False, corners, weights)
            at = (x * n1 + y) * n2
            for m in range(modalities):
                if case.channels[m]:
                    column = patch.image[m * written + at + near : m * written + at + far]
                    _image_columns(case.image, m * volume + begin, corners, weights, within, column)
            if case.label.size > 0:
                chosen = patch.label[at + near : at + far]
                if patch.nearest:
                    _cell(px, py, size, True, corners, weights)
                if within:
                    _label_columns(case.label, begin, scratch, chosen)
                else:
                    _border_columns(case.label, begin, scratch, patch.outside, chosen)
