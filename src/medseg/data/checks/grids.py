"""Whether two files of a case lie on one grid: shape, spacing, orientation, position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.data.checks.finding import Finding
from medseg.data.formats import Volume, voxel_size
from medseg.data.geometry import TOLERANCE, orientation_code

_SAME_SIZE = 1e-3
_SAME_DIRECTION = 1e-3


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a file are; ``name`` tells what the file is, as in ``image T1``."""

    file: str
    name: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, file: str, name: str, volume: Volume) -> Grid:
        """The grid of a volume."""
        return cls(file, name, volume.array.shape, volume.affine)


def grid_finding(grid: Grid, reference: Grid, case: str, kind: str) -> Finding | None:
    """The first thing in which a grid differs from the reference: shape, spacing, orientation, position.

    Args:
        grid: of the label or of another modality.
        reference: of the case's first image.
        case: its id.
        kind: what comes before the difference in the finding's kind, ``label`` or ``modality``.
    """
    difference = _difference(grid, reference)
    if difference is None:
        return None
    field, problem = difference
    fix = "resample one onto the other, or correct the header that is wrong"
    return Finding(grid.file, field, problem, fix, "error", f"{kind}-{field}", (case,))


def _difference(grid: Grid, reference: Grid) -> tuple[str, str] | None:
    other = f"in {reference.name} ({reference.file})"
    if grid.shape != reference.shape:
        return "shape", f"{grid.name} is {grid.shape}, but {reference.shape} {other}"
    apart = _apart(grid, reference)
    sizes = np.array(voxel_size(grid.affine)), np.array(voxel_size(reference.affine))
    if apart <= TOLERANCE * sizes[1].min():
        return None
    if (np.abs(sizes[0] - sizes[1]) > _SAME_SIZE * sizes[1]).any():
        own, wanted = (" x ".join(f"{s:.4g}" for s in size) for size in sizes)
        return "spacing", f"{grid.name} has {own} mm, but {wanted} mm {other}"
    if np.abs(grid.affine[:3, :3] / sizes[0] - reference.affine[:3, :3] / sizes[1]).max() > _SAME_DIRECTION:
        own, wanted = orientation_code(grid.affine), orientation_code(reference.affine)
        turned = f"is {own}, but {wanted}" if own != wanted else f"({own}) is turned against {wanted}"
        return "orientation", f"{grid.name} {turned} {other}"
    return "position", f"{grid.name} lies up to {apart:.3g} mm away from where it is {other}"


def _apart(one: Grid, two: Grid) -> float:
    """The largest distance between the same corner of both, in mm along an axis."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.array(one.shape) - 1
    return float(np.abs(corners @ (one.affine - two.affine).T).max())
