"""Whether a header can place voxels in the body: spacing, and an affine that is regular and square."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medseg.data.checks.finding import Finding
from medseg.data.formats import Header, voxel_size

SHEAR = 0.01
"""Cosine between two axes from which they do not count as square: 0.6 degrees."""
_SINGULAR = 1e-6
_AGREES = 0.01
_FIX = "correct the header, for instance from the original DICOM"


def geometry_findings(file: str, header: Header, case: str) -> Iterator[Finding]:
    """At most one finding: the first of spacing, affine, and their agreement that is wrong."""
    if bad := _spacing(header):
        yield Finding(file, "spacing", bad, _FIX, "error", "spacing", (case,))
    elif bad := _affine(header):
        yield Finding(file, "affine", bad, _FIX, "error", "affine", (case,))
    elif bad := _shear(header):
        fix = "resample it to square axes (for gantry tilt: convert again with tilt correction)"
        yield Finding(file, "affine", bad, fix, "error", "sheared-affine", (case,))
    elif bad := _disagreement(header):
        fix = "write the same voxel size into both; medseg believes the affine"
        yield Finding(file, "spacing", bad, fix, "warning", "header-spacing", (case,))


def _spacing(header: Header) -> str | None:
    """A step along an axis of one voxel is never taken: formats leave it at zero."""
    steps = [step for step, size in zip(header.spacing, header.grid, strict=True) if size > 1]
    bad = [step for step in steps if not np.isfinite(step) or step <= 0]
    return f"is {_mm(header.spacing)}, which is no voxel size" if bad else None


def _affine(header: Header) -> str | None:
    if not np.isfinite(header.affine).all():
        return "has NaN or infinite entries"
    size = voxel_size(header.affine)
    if min(size) == 0 or abs(np.linalg.det(header.affine[:3, :3] / size)) < _SINGULAR:
        return f"is singular: axes coincide or have no length (voxels of {_mm(size)})"
    return None


def _shear(header: Header) -> str | None:
    axes = header.affine[:3, :3] / voxel_size(header.affine)
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine <= SHEAR:
        return None
    return f"is sheared: two axes meet at {np.degrees(np.arccos(min(1.0, cosine))):.1f} degrees instead of 90"


def _disagreement(header: Header) -> str | None:
    size = np.array(voxel_size(header.affine))
    told = np.array(header.spacing)
    counts = np.array(header.grid) > 1
    if (np.abs(told - size)[counts] <= _AGREES * size[counts]).all():
        return None
    return f"is {_mm(header.spacing)} in the header's field, {_mm(voxel_size(header.affine))} in its affine"


def _mm(steps: tuple[float, float, float]) -> str:
    return " x ".join(f"{step:.4g}" for step in steps) + " mm"
