"""Prepares what the compiled kernels need and runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment import bspline
from medseg.patches.augment.machine_code import compiled
from medseg.patches.augment.slice_kernels import warp_slices
from medseg.patches.augment.spatial import Rules, Source, Spatial, Target
from medseg.patches.augment.volume_kernels import Bending, warp_volume


def warp(source: Source, target: Target, start: Sequence[int], spatial: Spatial, rules: Rules) -> None:
    """Fills the target with one patch, turned, scaled, bent and mirrored in a single resampling.

    The memory-mapped source is read in place: only the pages under the patch are touched.
    """
    patch = target.image.shape[1:]
    # Slices stay slices in-plane; mirroring their order afterwards moves whole columns only.
    mirrored = rules.in_plane and spatial.flips[2]
    flips = (*spatial.flips[:2], spatial.flips[2] and not mirrored)
    affine = to_source(patch, start, spatial.matrix, flips)
    affine[3, :3] = source.image.shape[1:]
    target.image[~source.present] = 0
    label, out_label = np.empty(0, np.uint8), np.empty((0, 0, 0), np.uint8)
    if target.label is not None and source.label is not None:
        label, out_label = source.label, target.label
    _check(source, target, label, out_label)
    compiled(warp_slices if rules.in_plane else warp_volume)(
        _read_only(source.image).reshape(len(source.image), -1),
        _read_only(label).reshape(-1),
        np.flatnonzero(source.present),
        affine,
        _bending(patch, spatial, rules.in_plane),
        rules.nearest,
        rules.outside,
        target.image,
        out_label,
    )
    if mirrored:
        target.image[...] = target.image[..., ::-1].copy()
        out_label[...] = out_label[..., ::-1].copy()


def _check(source: Source, target: Target, label: NDArray[Any], out_label: NDArray[Any]) -> None:
    """The kernels trust their arguments: arrays that do not belong together would be read past their end."""
    channels, *size = source.image.shape
    if label.size and (list(label.shape) != size or out_label.shape != target.image.shape[1:]):
        raise ValueError(f"label {label.shape} on an image {source.image.shape}")
    if len(source.present) != channels or len(target.image) != channels:
        raise ValueError(f"{len(target.image)} channels of a patch from {channels} of a case")


def to_source(
    patch: Sequence[int], start: Sequence[int], matrix: NDArray[np.float64] | None, flips: Sequence[bool]
) -> NDArray[np.float64]:
    """``(4, 4)``: from the voxels of a patch to positions in the source, without the displacement."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if matrix is None else matrix) * np.where(flips, -1.0, 1.0)
    centre = (np.array(patch) - 1) / 2
    affine[:3, 3] = np.array(start) + centre - affine[:3, :3] @ centre
    return affine


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A plain read-only view, so that memory maps and arrays run the same machine code."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


def _bending(patch: Sequence[int], spatial: Spatial, in_plane: bool) -> Bending:
    """The control points with the last axis evaluated, and the weights of the first two axes."""
    if spatial.elastic is None:
        nowhere, nothing = np.empty(0, np.int64), np.empty((0, 4), np.float32)
        return np.empty((3, 0, 0, 0), np.float32), nowhere, nothing, nowhere, nothing
    control, interval = spatial.elastic.control, spatial.elastic.interval
    if not in_plane:
        control = np.ascontiguousarray(control @ bspline.matrix(patch[2], interval[2]).T)
    x, y = bspline.weights(patch[0], interval[0]), bspline.weights(patch[1], interval[1])
    return control, *x, *y
