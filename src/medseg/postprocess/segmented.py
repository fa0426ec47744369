"""A predicted case, as every step of post-processing takes and gives it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Segmented:
    """One case on the grid of its files.

    Attributes:
        codes: ``(W, H, D)``: 0 background, ``k`` the ``k``-th name of the labels. Of overlapping regions it
            is the innermost one that holds the voxel.
        spacing: mm per axis of the file; 1 per pixel of a picture.
        probabilities: ``(K, W, H, D)``, background first for exclusive classes, one per overlapping region;
            ``None`` unless a step asked for them.
        image: ``(M, W, H, D)`` in the files' intensities, zero where a modality is missing; likewise.
    """

    codes: Codes
    spacing: tuple[float, float, float]
    probabilities: Probabilities | None = None
    image: NDArray[np.float32] | None = None
