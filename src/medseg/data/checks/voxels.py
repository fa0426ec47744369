"""What an image holds: NaN and infinity, one value only, and a hash of it all, in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.data.checks.finding import Finding


@dataclass(frozen=True)
class Content:
    """What the voxels of one image are.

    Attributes:
        hash: of shape and values; the same in whatever type and format they are stored.
        broken: voxels that are NaN, or infinite in float32, which is what is trained on.
        low: the smallest finite value; NaN where there is none.
        high: the largest one.
    """

    hash: str
    broken: int
    low: float
    high: float

    @property
    def constant(self) -> bool:
        """Whether all voxels have one value."""
        return self.low == self.high and not self.broken


def content(array: NDArray[Any]) -> Content:
    """Looks at ``(W, H, D)`` slice by slice, so that no copy of the whole is made."""
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=20)
    broken, low, high = 0, np.inf, -np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(array.shape[2]):
            plane = np.ascontiguousarray(array[:, :, k].T, dtype=np.float32)
            plane = plane + np.float32(0)  # minus zero is zero; the caller's array is left alone
            digest.update(plane.data)
            bottom, top = float(plane.min()), float(plane.max())
            if not np.isfinite(bottom + top):  # NaN spreads through both
                sound = np.isfinite(plane)
                broken += plane.size - int(np.count_nonzero(sound))
                bottom = float(plane.min(where=sound, initial=np.inf))
                top = float(plane.max(where=sound, initial=-np.inf))
            low, high = min(low, bottom), max(high, top)
    if low > high:
        low = high = np.nan
    return Content(digest.hexdigest(), broken, float(low), float(high))


def voxel_findings(file: str, name: str, found: Content, case: str) -> Iterator[Finding]:
    """NaN or infinite voxels, or an image that shows nothing."""
    if found.broken:
        many = "voxel is" if found.broken == 1 else "voxels are"
        problem = f"{found.broken:,} {many} NaN or infinite"
        fix = "mend the file (outside the field of view: write the background's value)"
        yield Finding(file, "voxels", problem, fix, "error", "nan-voxels", (case,))
    elif found.constant:
        problem = f"{name} is {found.low:g} everywhere"
        fix = "replace the file, or leave this modality of the case out"
        yield Finding(file, "voxels", problem, fix, "warning", "constant-image", (case,))
