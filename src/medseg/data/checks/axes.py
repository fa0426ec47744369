"""Axes that a scan should not have: a fourth one, and ones of a single voxel."""

from __future__ import annotations

from collections.abc import Iterator

from medseg.data.checks.finding import Finding
from medseg.data.formats import Header


def several_volumes(file: str, header: Header, case: str) -> Finding:
    """The finding for a file of several volumes where one is expected."""
    problem = f"{header.shape}: {header.components} volumes where one is expected"
    fix = "give each volume its own file (for images: or name a modality for each)"
    return Finding(file, "shape", problem, fix, "error", "extra-axes", (case,))


def axes_findings(file: str, header: Header, case: str, spatial_dims: int) -> Iterator[Finding]:
    """Axes of one voxel: within the grid (an error), or trailing (which other programs stumble over)."""
    thin = min(header.grid) if spatial_dims == 3 else min(header.grid[:2])
    if thin == 1:
        problem = f"{header.grid}: an axis of one voxel in a {spatial_dims}D cohort"
        fix = "store whole volumes, or put single slices into a cohort of their own"
        yield Finding(file, "shape", problem, fix, "error", "singleton-axis", (case,))
    elif len(header.shape) > 3 and header.components == 1:
        problem = f"{header.shape}: trailing axes of one voxel"
        fix = "squeeze them away: medseg reads such files, other programs may not"
        yield Finding(file, "shape", problem, fix, "warning", "trailing-axes", (case,))
