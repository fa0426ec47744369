"""How far two surfaces are apart, in mm, between the centres of their boundary voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """Exact nearest distances between two boundaries, by a k-d tree on each.

    Args:
        reference: a mask.
        prediction: a mask of the same shape.
        spacing: mm per axis.
        axes: as in `boundary`.
    """
    box = bounding_box(reference | prediction)
    if box is None:
        return SurfaceDistances(np.empty(0), np.empty(0))
    here, there = boundary(reference[box], axes), boundary(prediction[box], axes)
    return SurfaceDistances(_nearest(here, there, spacing), _nearest(there, here, spacing))


def _nearest(here: Mask, there: Mask, spacing: Sequence[float]) -> Distances:
    """Distances from the voxels of ``here`` to those of ``there``; shared voxels cost nothing."""
    from scipy.spatial import cKDTree

    apart = here & ~there
    distances = np.zeros(np.count_nonzero(here))
    if not there.any():
        return np.empty(0)
    scale = np.asarray(spacing, dtype=np.float64)
    points = np.argwhere(apart) * scale
    if len(points):
        # An unbalanced tree is built several times faster, and points of a grid keep it shallow.
        tree = cKDTree(np.argwhere(there) * scale, balanced_tree=False, compact_nodes=False)
        distances[: len(points)] = tree.query(points)[0]
    return distances


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
