"""Prepares what the compiled kernels need and runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.data.machine_code import compiled
from medseg.patches.augment import bspline
from medseg.patches.augment.kernel_types import Bending, Case, Patch, Row, Scratch
from medseg.patches.augment.slice_kernels import warp_slices
from medseg.patches.augment.spatial import Elastic, Rules, Source, Spatial, Target
from medseg.patches.augment.volume_kernels import warp_volume

_TURNED = [2, 0, 1]
"""A single slice is a volume of one plane: its own axis becomes the first."""


def warp(source: Source, target: Target, start: Sequence[int], spatial: Spatial, rules: Rules) -> None:
    """Fills the target with one patch, turned, scaled, bent and mirrored in a single resampling.

    The memory-mapped source is read in place: only the pages under the patch are touched.
    """
    patch = target.image.shape[1:]
    # Slices stay slices in-plane; mirroring their order afterwards moves whole columns only.
    mirrored = rules.in_plane and spatial.flips[2]
    flips = (*spatial.flips[:2], spatial.flips[2] and not mirrored)
    affine = to_source(patch, start, spatial.matrix, flips)[:3]
    if source.label is None or target.label is None:
        source, target = Source(source.image, None, source.present), Target(target.image, None)
    _check(source, target)
    if not source.present.all():
        target.image[~source.present] = 0
    if rules.in_plane and not 0 <= start[2] <= source.image.shape[3] - patch[2]:
        _beyond(source, target, rules.outside)
    if rules.in_plane and patch[2] == 1:
        if 0 <= start[2] < source.image.shape[3]:
            _warp_slice(source, target, affine, spatial.elastic, rules)
        return
    kernel = compiled(warp_slices if rules.in_plane else warp_volume)
    bending = _bending(patch, spatial.elastic, rules.in_plane)
    kernel(_case(source, False), affine, bending, *_memory(patch[2]), _patch(target, patch, rules))
    if mirrored:
        target.image[...] = target.image[..., ::-1].copy()
        if target.label is not None:
            target.label[...] = target.label[..., ::-1].copy()


def _warp_slice(
    source: Source, target: Target, affine: NDArray[np.float64], elastic: Elastic | None, rules: Rules
) -> None:
    """A patch of one slice, by the kernel of volumes, whose rows are then lines of the slice."""
    x, y, _ = target.image.shape[1:]
    bending = _bending((1, x, y), None, False)
    reach = np.zeros(3)
    if elastic is not None:
        reach = np.abs(elastic.control).max(axis=(1, 2, 3)).astype(np.float64)
        control = np.zeros((3, 4, elastic.control.shape[1], y), np.float32)
        control[:, 0] = (elastic.control[..., 0] @ bspline.matrix(y, elastic.interval[1]).T)[_TURNED]
        once = np.array([[1, 0, 0, 0]], np.float32)
        lines = bspline.weights(x, elastic.interval[0])
        bending = Bending(control, np.zeros(1, np.int64), once, *lines, np.empty_like(control[:, 0]))
    plane, first = _slice(source, affine, (x, y), reach)
    turned = affine[_TURNED][:, [*_TURNED, 3]]
    turned[:, 3] -= [affine[2, 3], *first]
    case = _case(plane, True)
    compiled(warp_volume)(case, turned, bending, *_memory(y), _patch(target, (1, x, y), rules))


def _slice(
    source: Source, affine: NDArray[np.float64], patch: tuple[int, int], reach: NDArray[np.float64]
) -> tuple[Source, tuple[int, int]]:
    """The slice under a patch, as a volume ``(M, 1, W, H)``, and where it begins in the source.

    What the patch does not reach is left out unless the source itself is one slice: then nothing is copied.
    """
    image, label, k = source.image, source.label, round(affine[2, 3])
    low, high = np.zeros(2, np.int64), np.array(image.shape[1:3])
    if image.shape[3] > 1:
        ends = np.stack(np.meshgrid([0, patch[0] - 1], [0, patch[1] - 1])).reshape(2, -1)
        corners = affine[:2, :2] @ ends + affine[:2, 3:]
        low = np.clip(np.floor(corners.min(1) - reach[:2]).astype(np.int64) - 1, 0, high - 1)
        high = np.clip(np.ceil(corners.max(1) + reach[:2]).astype(np.int64) + 2, low + 1, high)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), k)
    plane = None if label is None else np.ascontiguousarray(label[box])[None]
    cut = np.ascontiguousarray(image[(slice(None), *box)])[:, None]
    return Source(cut, plane, source.present), (int(low[0]), int(low[1]))


def _case(source: Source, thin: bool) -> Case:
    label = np.empty(0, np.uint8) if source.label is None else source.label
    size = np.array(source.image.shape[1:], np.float64)
    return Case(_read_only(source.image), _read_only(label), source.present, size, thin)


def _patch(target: Target, shape: tuple[int, int, int], rules: Rules) -> Patch:
    label = np.empty(0, np.uint8) if target.label is None else target.label
    return Patch(target.image.reshape(-1), label.reshape(-1), shape, rules.nearest, rules.outside)


def _beyond(source: Source, target: Target, outside: int) -> None:
    """What the kernels do not write: slices that the source does not have."""
    target.image[source.present] = 0
    if target.label is not None:
        target.label[...] = outside


def _check(source: Source, target: Target) -> None:
    """The kernels trust their arguments: arrays that do not belong together would be read past their end.

    Raises:
        ValueError: shapes differ, or a target is not contiguous.
    """
    channels, *size = source.image.shape
    if source.label is not None and target.label is not None:
        if list(source.label.shape) != size or target.label.shape != target.image.shape[1:]:
            raise ValueError(f"label {source.label.shape} on an image {source.image.shape}")
        if not target.label.flags.c_contiguous:
            raise ValueError("the label's target is not contiguous")
    if len(source.present) != channels or len(target.image) != channels:
        raise ValueError(f"{len(target.image)} channels of a patch from {channels} of a case")
    if not target.image.flags.c_contiguous:
        raise ValueError("the image's target is not contiguous")


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
    """A plain flat read-only view, so that memory maps and arrays run the same machine code."""
    view = np.ascontiguousarray(array).view(np.ndarray).reshape(-1)
    view.flags.writeable = False
    return view


def _bending(patch: Sequence[int], elastic: Elastic | None, in_plane: bool) -> Bending:
    """The control points with the last axis evaluated, and the weights of the first two axes."""
    deep = 1 if in_plane else patch[2]
    if elastic is None:
        nowhere, nothing = np.empty(0, np.int64), np.empty((0, 4), np.float32)
        still = np.empty((3, 0, deep), np.float32)
        return Bending(np.empty((3, 0, 0, deep), np.float32), nowhere, nothing, nowhere, nothing, still)
    control, interval = elastic.control, elastic.interval
    if not in_plane:
        control = np.ascontiguousarray(control @ bspline.matrix(deep, interval[2]).T)
    x, y = bspline.weights(patch[0], interval[0]), bspline.weights(patch[1], interval[1])
    return Bending(control, *x, *y, np.empty((3, control.shape[2], deep), np.float32))


def _memory(n: int) -> tuple[Row, Scratch]:
    """What the kernels work in: they allocate nothing."""
    return (
        Row(np.empty(3), np.zeros((3, n), np.float32), np.empty(n, np.int64), np.empty((3, n), np.float32)),
        Scratch(
            *(np.empty(n + 8, kind) for kind in (np.int64, np.uint8)),
            *(np.empty(8, kind) for kind in (np.int64, np.uint8, np.float32)),
        ),
    )
