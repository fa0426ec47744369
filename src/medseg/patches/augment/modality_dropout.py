"""Modality dropout: some of what a case has is hidden, so that a model learns to do without (Havaei 2016)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.patches.settings import AugmentationSettings


def draw(
    rng: np.random.Generator, settings: AugmentationSettings, present: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """``(M,)`` which modalities stay: all that there are, or a smaller set of them that is not empty."""
    there = np.flatnonzero(present)
    kept = present.copy()
    if rng.random() >= settings.modality_dropout_probability or len(there) < 2:
        return kept
    chosen = int(rng.integers(1, 2 ** len(there) - 1))  # neither none (0) nor all (2^n - 1)
    kept[there] = [bool(chosen >> bit & 1) for bit in range(len(there))]
    return kept
