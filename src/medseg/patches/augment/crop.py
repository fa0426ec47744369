"""The exact copy of a box, mirrored and padded where asked: no voxel is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def crop(
    source: NDArray[Any],
    target: NDArray[Any],
    start: Sequence[int],
    flips: Sequence[bool],
    outside: float,
) -> None:
    """Fills ``target`` with the box of ``source`` that begins at ``start``, then mirrored.

    Args:
        source: ``(..., W, H, D)``; only the box is read.
        target: ``(..., P0, P1, P2)``, written in place.
        start: first voxel of the box per spatial axis; may lie outside.
        flips: which spatial axes of the target are mirrored.
        outside: the value where the box leaves the source.
    """
    axes = range(source.ndim - 3, source.ndim)
    sizes = [(source.shape[a], target.shape[a]) for a in axes]
    inside = [(max(s, 0), min(s + p, n)) for s, (n, p) in zip(start, sizes, strict=True)]
    mirrored: list[Any] = [slice(None, None, -1 if flip else 1) for flip in flips]
    view = target[(..., *mirrored)]
    if any(high - low < p for (low, high), (_, p) in zip(inside, sizes, strict=True)):
        view[...] = outside
    if all(high > low for low, high in inside):
        box: list[Any] = [slice(low, high) for low, high in inside]
        place: list[Any] = [slice(low - s, high - s) for (low, high), s in zip(inside, start, strict=True)]
        view[(..., *place)] = np.asarray(source[(..., *box)])
