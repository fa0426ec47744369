"""What the kernels of the warp hand to each other; arrays are flat, so that an index is one number."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]
Steps = tuple[int, int, int]
"""From a voxel to its neighbours along the second and the first axis, and to what rows will read soon."""


class Case(NamedTuple):
    """What is read: ``image`` ``(M * V,)`` float32, ``label`` ``(V,)`` uint8 or empty, which of the M
    ``channels`` ``(M,)`` bool, the source's ``size`` ``(3,)`` float64, and whether it is ``thin``: one voxel
    deep along the first axis, where then every position is a whole number."""

    image: Array
    label: Array
    channels: Array
    size: Array
    thin: bool


class Patch(NamedTuple):
    """What is written: ``image`` ``(M * P,)`` float32 and ``label`` ``(P,)`` uint8 or empty; ``shape`` of
    the patch, and how labels are treated (see `spatial.Rules`)."""

    image: Array
    label: Array
    shape: tuple[int, int, int]
    nearest: bool
    outside: int


class Bending(NamedTuple):
    """``control`` ``(3, X, Y, P2)`` float32 control points, the last axis already evaluated, or empty;
    ``first`` and ``weight`` of `bspline.weights` for x and for y; ``plane`` ``(3, Y, P2)`` to work in."""

    control: Array
    first_x: Array
    weight_x: Array
    first_y: Array
    weight_y: Array
    plane: Array


class Row(NamedTuple):
    """Where a row of n voxels comes from: ``begin + affine[:, 2] * z + shift[:, z]``, with ``shift``
    ``(3, n)`` the displacement. ``base`` ``(n,)`` is the flat index of each cell's first corner, or says
    that the cell is not within the source; ``share`` ``(3, n)`` the position within the cell."""

    begin: Array
    shift: Array
    base: Array
    share: Array


class Scratch(NamedTuple):
    """``mixed`` int64 and ``differ`` uint8, ``(n + 8,)`` for a row; ``corners`` int64, ``codes`` uint8 and
    ``weights`` float32 of the eight corners of a cell."""

    mixed: Array
    differ: Array
    corners: Array
    codes: Array
    weights: Array
