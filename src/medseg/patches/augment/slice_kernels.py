"""The compiled loops of the warp within slices; `warp_torch` is the same in plain torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.patches.augment.machine_code import inner
from medseg.patches.augment.volume_kernels import Array, Bending, bend, vote


@inner
def _image_columns(
    image: Array, corners: Array, weights: Array, near: Any, far: Any, shift: Any, out: Array
) -> None:
    """Bilinear interpolation of one column of slices: those from ``near`` to ``far`` are inside."""
    for z in range(out.shape[0]):
        out[z] = 0
    for k in range(4):
        if corners[k] >= 0:
            flat, weight = np.uint64(corners[k] + shift + near), weights[k]
            for z in range(far - near):
                out[near + z] += weight * image[flat + np.uint64(z)]


@inner
def _label_columns(
    label: Array, corners: Array, weights: Array, near: Any, far: Any, shift: Any, outside: int, out: Array
) -> None:
    """The argmax of the interpolated one-hot labels of one column of slices."""
    codes = np.empty(4, np.uint8)
    for z in range(out.shape[0]):
        if z < near or z >= far:
            out[z] = outside
            continue
        for k in range(4):
            codes[k] = label[np.uint64(corners[k] + shift + z)] if corners[k] >= 0 else outside
        same = codes[0] == codes[1] and codes[0] == codes[2] and codes[0] == codes[3]
        out[z] = codes[0] if same else vote(codes, weights, 4)


@inner
def _cell(x: float, y: float, shape: Array, nearest: bool, corners: Array, weights: Array) -> None:
    """The flat indices of the four corners around a position (-1 outside) and their weights."""
    fx, fy = np.float32(x - np.floor(x)), np.float32(y - np.floor(y))
    one = np.float32(1)
    if nearest:
        fx, fy = np.float32(fx >= 0.5), np.float32(fy >= 0.5)
    for k in range(4):
        i, j = np.floor(x) + (k >> 1), np.floor(y) + (k & 1)
        inside = (i >= 0) & (j >= 0) & (i < shape[0]) & (j < shape[1])
        corners[k] = np.int64((i * shape[1] + j) * shape[2] if inside else -1.0)
        weights[k] = (fx if k & 2 else one - fx) * (fy if k & 1 else one - fy)


def warp_slices(
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
    """`warp_volume` for changes within the first two axes: all slices of a patch move alike.

    ``affine[2, 3]`` is the whole number of the first slice; the control points are ``(3, X, Y, 1)``.
    """
    shape = affine[3, :3].copy()
    n0, n1, n2 = out_image.shape[1:]
    planes, first_x, weight_x, first_y, weight_y = bending
    bent = planes.size > 0
    shift = np.int64(affine[2, 3])
    near, far = max(0, -shift), min(n2, np.int64(shape[2]) - shift)
    far = max(near, far)
    plane, row = np.empty((3, planes.shape[2], 1), np.float32), np.zeros((3, 1), np.float32)
    corners, weights = np.empty(4, np.int64), np.empty(4, np.float32)
    for x in range(n0):
        if bent:
            for j in range(planes.shape[2]):
                bend(planes[:, :, j], first_x[x], weight_x[x], plane[:, j])
        for y in range(n1):
            if bent:
                bend(plane, first_y[y], weight_y[y], row)
            px = affine[0, 3] + affine[0, 0] * x + affine[0, 1] * y + row[0, 0]
            py = affine[1, 3] + affine[1, 0] * x + affine[1, 1] * y + row[1, 0]
            _cell(px, py, shape, False, corners, weights)
            for m in channels:
                _image_columns(image[m], corners, weights, near, far, shift, out_image[m, x, y])
            if label.size > 0:
                _cell(px, py, shape, nearest, corners, weights)
                _label_columns(label, corners, weights, near, far, shift, outside, out_label[x, y])
