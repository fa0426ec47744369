"""The box of a scan that a patch is made from, read into memory of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.patches.augment.spatial import Source, Spatial
from medseg.patches.sample import Drawn


@dataclass(frozen=True)
class Box:
    """Voxels ``low`` up to but without ``high`` of a scan, per store axis; empty where they meet."""

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels per axis."""
        x, y, z = (high - low for low, high in zip(self.low, self.high, strict=True))
        return x, y, z

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index."""
        x, y, z = (slice(low, high) for low, high in zip(self.low, self.high, strict=True))
        return x, y, z


@dataclass(frozen=True)
class Region:
    """What one patch is made from.

    Attributes:
        case: the id of the case.
        index: epoch and number of the sample.
        drawn: where the patch lies, its modalities, and what is to be done with it.
        box: what was read.
        voxels: ``(C * w * h * d,)`` float32, the present modalities one after the other.
        codes: ``(w * h * d,)`` uint8, or ``None`` for an unlabelled stream.
    """

    case: str
    index: tuple[int, int]
    drawn: Drawn
    box: Box
    voxels: Tensor
    codes: Tensor | None


def is_moved(spatial: Spatial) -> bool:
    """Whether anything has to be interpolated."""
    return spatial.matrix is not None or spatial.elastic is not None


def turning(spatial: Spatial) -> NDArray[np.float64]:
    """``(3, 3)``: source voxels per patch voxel, the flips included."""
    matrix = np.eye(3) if spatial.matrix is None else spatial.matrix
    return np.asarray(matrix * np.where(spatial.flips, -1.0, 1.0), dtype=np.float64)


def box_of(patch: Sequence[int], shape: Sequence[int], drawn: Drawn) -> Box:
    """The voxels of a scan of ``shape`` that a patch needs, and no others where nothing is bent.

    An affine map takes its extremes at the corners of the patch. A B-spline stays within the range of its
    control points; that is the margin where something is bent.
    """
    first = np.array(drawn.start, dtype=np.int64)
    if is_moved(drawn.spatial):
        half = (np.array(patch) - 1) / 2
        reach = np.abs(turning(drawn.spatial)) @ half
        low, high = first + half - reach, first + half + reach
        if (elastic := drawn.spatial.elastic) is not None:
            low, high = low + elastic.control.min((1, 2, 3)), high + elastic.control.max((1, 2, 3))
        # A position lies between two voxels: the one at or before it and the next.
        begin, end = np.floor(low).astype(np.int64), np.floor(high).astype(np.int64) + 2
    else:
        begin, end = first, first + np.array(patch)
    begin, end = np.clip(begin, 0, shape), np.clip(end, 0, shape)
    x, y, z = (int(n) for n in begin)
    u, v, w = (int(n) for n in np.maximum(begin, end))
    return Box((x, y, z), (u, v, w))


def read(
    source: Source, patch: Sequence[int], drawn: Drawn, case: str, index: tuple[int, int], pin: bool = False
) -> Region:
    """Copies the box under a patch; of memory-mapped arrays only the pages under it are touched.

    Args:
        source: the arrays of the case; its label is read unless it is ``None``.
        patch: voxels per store axis.
        drawn: what was drawn for the patch; only the modalities that it shows are read.
        case: the id.
        index: epoch and number of the sample.
        pin: whether to copy into page-locked memory.

    Raises:
        ValueError: the modalities or the label do not fit the image.
    """
    channels, *shape = source.image.shape
    if len(drawn.present) != channels:
        raise ValueError(f"{len(drawn.present)} modalities of a patch from {channels} of a case")
    if source.label is not None and list(source.label.shape) != shape:
        raise ValueError(f"label {source.label.shape} on an image {source.image.shape}")
    box = box_of(patch, shape, drawn)
    there = np.flatnonzero(drawn.present)
    voxels, into = _memory((len(there), *box.size), torch.float32, pin)
    if len(there) == channels:
        into[...] = source.image[(slice(None), *box.slices)]
    else:
        for row, channel in enumerate(there):
            into[row] = source.image[(channel, *box.slices)]
    codes = None
    if source.label is not None:
        codes, into = _memory(box.size, torch.uint8, pin)
        into[...] = source.label[box.slices]
    return Region(case, index, drawn, box, voxels, codes)


def _memory(shape: tuple[int, ...], dtype: torch.dtype, pin: bool) -> tuple[Tensor, NDArray[Any]]:
    """A flat tensor and the same memory as an array of ``shape``."""
    flat = torch.empty(math.prod(shape), dtype=dtype, pin_memory=pin)
    return flat, flat.numpy().reshape(shape)
