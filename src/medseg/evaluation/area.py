"""Surface distances by DeepMind's definition: elements at voxel corners, weighted by area (Nikolov 2021).

A corner between inside and outside voxels carries an element of the surface, whose area follows from
which of its eight voxels are inside (marching cubes; in 2D four pixels and a length). The numbers are
those of the package ``surface-distance``: https://github.com/google-deepmind/surface-distance (Apache 2.0).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.code_maps import CodeMaps
from medseg.evaluation.nearest import Bits, Steps, all_places, nearest_distances
from medseg.evaluation.surfaces import SLACK_MM

Along = tuple[bool, bool, bool]

_NORMALS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1))
_CORNERS: dict[int, tuple[int, ...]] = {
    0b00000001: (0, 0, 0, 0, 0, 0, 1),
    0b00000011: (0, 0, 0, 0, 0, 4, 0),
    0b00000110: (0, 0, 0, 0, 0, 0, 2),
    0b00000111: (4, 0, 0, 0, 0, 0, 3),
    0b00001111: (8, 0, 0, 0, 0, 0, 0),
    0b00010110: (0, 0, 0, 0, 0, 0, 3),
    0b00010111: (0, 0, 0, 0, 0, 0, 6),
    0b00011000: (0, 0, 0, 0, 0, 0, 2),
    0b00011001: (0, 0, 0, 4, 0, 0, 1),
    0b00011011: (0, 0, 0, 2, 2, 0, 4),
    0b00011110: (4, 0, 0, 0, 0, 0, 4),
    0b00111100: (0, 0, 0, 0, 0, 8, 0),
    0b01101001: (0, 0, 0, 0, 0, 0, 4),
}
"""Voxels inside (bit ``4 x + 2 y + z``) -> eighths of each of `_NORMALS`. All other corners are one of
these turned, mirrored or with inside and outside exchanged."""


@dataclass(frozen=True)
class ElementDistances:
    """From every surface element of one mask to the nearest of the other, in mm, and its area.

    Areas are in mm2, in 2D lengths in mm. The order of the elements has no meaning; an empty mask has none.
    """

    reference_to_prediction: NDArray[np.float64]
    reference_areas: NDArray[np.float64]
    prediction_to_reference: NDArray[np.float64]
    prediction_areas: NDArray[np.float64]


def element_distances(
    maps: CodeMaps, codes: Collection[int], spacing: Sequence[float], axes: Sequence[int]
) -> ElementDistances:
    """Exact nearest distances between the surface elements of the two masks of a label.

    Args:
        maps: reference and prediction.
        codes: that make up the label.
        spacing: mm per axis.
        axes: along which voxels have neighbours; a line or a single voxel is taken for a 2D image.
    """
    box = maps.box(codes)
    if box is None:
        return ElementDistances(*[np.empty(0)] * 4)
    others = [axis for axis in range(len(spacing)) if axis not in axes]
    real = [*axes, *others[: max(0, 2 - len(axes))]]
    along = maps.per_axis([axis in real for axis in range(len(spacing))], False)
    steps = maps.per_axis(spacing, 1.0)
    here, there = maps.masks(codes, box)
    return ElementDistances(*_directed(here, there, along, steps), *_directed(there, here, along, steps))


def _directed(
    here: Bits, there: Bits, along: Along, steps: Steps
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from medseg.data.machine_code import compiled
    from medseg.evaluation.kernels.bit_masks import corner_codes

    if not there.any():
        return np.empty(0), np.empty(0)
    edge, other = _corners(here, along), _corners(there, along)
    shared = all_places(edge & other)
    places, apart = nearest_distances(edge & ~other, other, steps)
    places = np.concatenate([shared, places])
    codes = np.empty(len(places), np.uint8)
    compiled(corner_codes)(here, along, places, codes)
    return np.concatenate([np.zeros(len(shared)), apart]), _areas(along, steps)[codes]


def _corners(mask: Bits, along: Along) -> Bits:
    from medseg.data.machine_code import compiled
    from medseg.evaluation.kernels.bit_masks import corners

    edge = np.empty_like(mask)
    compiled(corners)(mask, along, edge)
    return edge


@functools.lru_cache(maxsize=64)
def _areas(along: Along, spacing: Steps) -> NDArray[np.float64]:
    """``(256,)``: the area of the element at a corner, by the bits of its voxels."""
    if all(along):
        faces = [math.prod(spacing) / step for step in spacing]
        sizes = [
            math.hypot(*(n * face for n, face in zip(normal, faces, strict=True))) for normal in _NORMALS
        ]
        areas: NDArray[np.float64] = _eighths() @ np.array(sizes) / 8.0
        return areas
    (a, first), (b, second) = [(k, step) for k, step in enumerate(spacing) if along[k]]
    lengths = np.zeros(256)
    for code in range(256):
        square = np.array([(code >> bit) & 1 for bit in range(8)]).reshape(2, 2, 2)
        square = square.take(0, axis=3 - a - b)
        if square.sum() in (1, 3):
            lengths[code] = math.hypot(first, second) / 2.0
        elif square.sum() == 2:
            # Two side by side make a line along the axis that they share; two across make two corners.
            across = (square[0, 0] == square[1, 1]) * math.hypot(first, second)
            lengths[code] = across or (second if square[0, 0] == square[0, 1] else first)
    return lengths


@functools.cache
def _eighths() -> NDArray[np.int64]:
    """``(256, 7)``: `_CORNERS`, turned and mirrored in every way."""
    table = np.zeros((256, len(_NORMALS)), np.int64)
    weights = 1 << np.arange(8)
    for code, eighths in _CORNERS.items():
        cube = np.array([(code >> bit) & 1 for bit in range(8)]).reshape(2, 2, 2)
        for order in itertools.permutations(range(3)):
            turned = [_NORMALS.index((n[order[0]], n[order[1]], n[order[2]])) for n in _NORMALS]
            for axes in itertools.product((1, -1), repeat=3):
                corner = cube.transpose(order)[:: axes[0], :: axes[1], :: axes[2]].reshape(-1)
                for inside in (corner, 1 - corner):
                    table[int(inside @ weights), turned] = eighths
    return table


def hausdorff_percentile(distances: ElementDistances, percent: float = 95.0) -> float:
    """The larger of the two directed percentiles by area, without interpolation, in mm."""
    return max(
        _percentile(distances.reference_to_prediction, distances.reference_areas, percent),
        _percentile(distances.prediction_to_reference, distances.prediction_areas, percent),
    )


def _percentile(values: NDArray[np.float64], areas: NDArray[np.float64], percent: float) -> float:
    order = np.argsort(values, kind="stable")
    shares = np.cumsum(areas[order])
    place = int(np.searchsorted(shares / shares[-1], percent / 100.0))
    return float(values[order[min(place, len(values) - 1)]])


def surface_dice(distances: ElementDistances, tolerance: float) -> float:
    """The share of both surfaces' area that lies within ``tolerance`` mm of the other."""
    within = [
        float(areas[values <= tolerance + SLACK_MM].sum())
        for values, areas in (
            (distances.reference_to_prediction, distances.reference_areas),
            (distances.prediction_to_reference, distances.prediction_areas),
        )
    ]
    whole = distances.reference_areas.sum() + distances.prediction_areas.sum()
    return float(sum(within) / whole)
