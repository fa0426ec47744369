"""How far two surfaces are apart, in mm, between the centres of their boundary voxels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.code_maps import CodeMaps
from medseg.evaluation.nearest import Bits, Steps, nearest_distances

Mask = NDArray[np.bool_]
Distances = NDArray[np.float64]

SLACK_MM = 1e-5
"""Spacings come from 32-bit headers: 20 x 0.1 mm must still lie within a tolerance of 2 mm."""


@dataclass(frozen=True)
class SurfaceDistances:
    """From every boundary voxel of one mask to the nearest boundary voxel of the other, in mm.

    The order within an array has no meaning. An empty mask has no distances.
    """

    reference_to_prediction: Distances
    prediction_to_reference: Distances

    @property
    def pooled(self) -> Distances:
        """Both directions in one array."""
        return np.concatenate([self.reference_to_prediction, self.prediction_to_reference])


def bounding_box(mask: Mask) -> tuple[slice, ...] | None:
    """The smallest box that holds every voxel of ``mask``, or ``None`` if there is none."""
    box = [slice(None)] * mask.ndim
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        hits = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if hits.size == 0:
            return None
        box[axis] = slice(int(hits[0]), int(hits[-1]) + 1)
    return tuple(box)


def boundary(mask: Mask, axes: Sequence[int] | None = None) -> Mask:
    """The voxels of ``mask`` that have a face neighbour outside it; beyond the array is outside.

    Args:
        mask: any number of dimensions.
        axes: the axes along which voxels have neighbours. A 2D image of shape ``(W, H, 1)`` has
            only two; with the third, its whole area would be boundary. With none, all of it is.
    """
    inner = mask.copy()
    axes = range(mask.ndim) if axes is None else axes
    for axis in axes:
        here, there = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
        here[0] = here[-1] = False
    return mask & ~inner if len(axes) else mask.copy()


def surface_distances(
    reference: Mask, prediction: Mask, spacing: Sequence[float], axes: Sequence[int] | None = None
) -> SurfaceDistances:
    """Exact nearest distances between two boundaries.

    Args:
        reference: a mask of at most three dimensions.
        prediction: a mask of the same shape.
        spacing: mm per axis.
        axes: as in `boundary`.
    """
    maps = CodeMaps(reference.view(np.uint8), prediction.view(np.uint8))
    return label_distances(maps, [1], spacing, range(reference.ndim) if axes is None else axes)


def label_distances(
    maps: CodeMaps, codes: Collection[int], spacing: Sequence[float], axes: Collection[int]
) -> SurfaceDistances:
    """Exact nearest distances between the boundaries of the two masks of a label.

    Args:
        maps: reference and prediction.
        codes: that make up the label.
        spacing: mm per axis.
        axes: as in `boundary`.
    """
    box = maps.box(codes)
    if box is None:
        return SurfaceDistances(np.empty(0), np.empty(0))
    along = maps.per_axis([axis in axes for axis in range(len(spacing))], False)
    steps = maps.per_axis(spacing, 1.0)
    here, there = (_edge(mask, along) for mask in maps.masks(codes, box))
    return SurfaceDistances(_directed(here, there, steps), _directed(there, here, steps))


def _edge(mask: Bits, along: tuple[bool, bool, bool]) -> Bits:
    from medseg.data.machine_code import compiled
    from medseg.evaluation.kernels.bit_masks import boundary as boundary_of_bits

    if not any(along):
        return mask
    edge = np.empty_like(mask)
    compiled(boundary_of_bits)(mask, along, edge)
    return edge


def _directed(here: Bits, there: Bits, steps: Steps) -> Distances:
    """Distances from the voxels of ``here`` to those of ``there``; shared voxels cost nothing."""
    if not there.any():
        return np.empty(0)
    shared = np.zeros(int(np.bitwise_count(here & there).sum()))
    return np.concatenate([shared, nearest_distances(here & ~there, there, steps)[1]])


def hausdorff(distances: SurfaceDistances) -> float:
    """The largest distance of both directions, in mm."""
    return float(distances.pooled.max())


def hausdorff_percentile(distances: SurfaceDistances, percent: float = 95.0) -> float:
    """The larger of the two directed percentiles, linear between ranks, in mm."""
    return max(
        float(np.percentile(distances.reference_to_prediction, percent)),
        float(np.percentile(distances.prediction_to_reference, percent)),
    )


def average_distance(distances: SurfaceDistances) -> float:
    """The mean over the boundary voxels of both masks (ASSD), in mm."""
    return float(distances.pooled.mean())


def surface_dice(distances: SurfaceDistances, tolerance: float) -> float:
    """The share of both boundaries that lies within ``tolerance`` mm of the other (Nikolov 2021)."""
    return float(np.mean(distances.pooled <= tolerance + SLACK_MM))
