"""Connected objects of a mask; voxels that share a face, an edge or a corner belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.postprocess.nesting import Mask, Nesting
from medseg.postprocess.segmented import Segmented

Keeps = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Voxels of each object -> which of them stay."""


def box_of(mask: Mask) -> tuple[slice, ...] | None:
    """The smallest box around what is set."""
    box = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(hit):
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def dropped(mask: Mask, keeps: Keeps) -> Mask | None:
    """The voxels of ``mask`` whose object does not stay, or ``None`` where all do."""
    from scipy.ndimage import label

    box = box_of(mask)
    if box is None:
        return None
    objects, count = label(mask[box], structure=np.ones((3,) * mask.ndim, dtype=bool))
    stays = np.concatenate([[True], keeps(np.bincount(objects.ravel(), minlength=count + 1)[1:])])
    if stays.all():
        return None
    gone = np.zeros_like(mask)
    gone[box] = ~stays[objects]
    return gone


def without_objects(
    case: Segmented, nesting: Nesting, groups: tuple[tuple[int, ...], ...], keeps: Keeps
) -> Segmented:
    """The case without the objects of each group of names that do not stay."""
    codes = case.codes
    for names in groups:
        gone = dropped(nesting.mask(codes, names), keeps)
        if gone is not None:
            codes = nesting.without(codes, names, gone)
    return replace(case, codes=codes)
