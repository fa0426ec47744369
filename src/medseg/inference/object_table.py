"""``CASE_objects.csv``: one line per object of an instance map."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.data.geometry import Geometry
from medseg.files import atomic_path
from medseg.inference.objects import Found


@dataclass(frozen=True)
class Line:
    """One object; voxels and axes are those of the case's files.

    Attributes:
        id: its value in the instance map.
        label: the name of its class.
        value: of its class in the label map.
        score: from 0 to 1.
        i0: first voxel of its box along the first axis; ``j0`` and ``k0`` along the others.
        i1: the voxel after the last; ``j1`` and ``k1`` along the others.
        pixels: how many are its own in the instance map.
        area_mm2: they cover; in pixels for a picture, which has no mm.
    """

    id: int
    label: str
    value: int
    score: float
    i0: int
    j0: int
    k0: int
    i1: int
    j1: int
    k1: int
    pixels: int
    area_mm2: float


def lines_of(
    ids: NDArray[np.uint16], found: Sequence[Found], geometry: Geometry, labels: Labels
) -> list[Line]:
    """A line per object of the instance map ``(W, H, D)``.

    Args:
        ids: the map; object ``k`` of ``found`` has the id ``k + 1``.
        found: the objects.
        geometry: of the case; slices are those across its last axis.
        labels: what the codes mean.
    """
    from scipy.ndimage import find_objects

    mm = np.linalg.norm(np.array(geometry.affine)[:3, :3], axis=0)
    pixel = float(np.prod([mm[axis] for axis in geometry.permutation[:2]]))
    counts = np.bincount(ids.ravel(), minlength=len(found) + 1).tolist()
    lines = []
    for number, (one, box) in enumerate(zip(found, find_objects(ids, len(found)), strict=True), start=1):
        i, j, k = box
        ends = (i.start, j.start, k.start, i.stop, j.stop, k.stop)
        name, value = labels.names[one.code - 1], labels.painted[one.code - 1]
        count = counts[number]
        lines.append(Line(number, name, value, round(one.score, 6), *ends, count, round(count * pixel, 6)))
    return lines


def write_objects(path: Path, lines: Sequence[Line]) -> None:
    """Writes the table atomically; a case without objects has the head alone."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow([field.name for field in fields(Line)])
        writer.writerows(astuple(line) for line in lines)
