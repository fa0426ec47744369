"""From probabilities to codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.postprocess.segmented import Codes

TIE = 1e-6
"""Probabilities closer than this are equal, so that rounding decides nothing."""


def decided(probabilities: NDArray[Any], labels: Labels, thresholds: Sequence[float] | None = None) -> Codes:
    """The code of each voxel.

    Args:
        probabilities: ``(K, *S)``.
        labels: exclusive classes: the largest ``p (1 - t) / t`` wins, the lower class on a tie. Regions:
            each is painted where it exceeds its threshold, over those before it.
        thresholds: one per name; one half each where they are left out.

    Returns:
        ``(*S)`` uint8: 0 background, ``k`` the ``k``-th name.
    """
    thresholds = thresholds or (0.5,) * len(labels.names)
    codes = np.zeros(probabilities.shape[1:], dtype=np.uint8)
    if labels.overlapping:
        for k, (region, threshold) in enumerate(zip(probabilities, thresholds, strict=True), start=1):
            codes[np.asarray(region) > threshold + TIE] = k
        return codes
    best = np.array(probabilities[0], dtype=np.float32)
    for k, threshold in enumerate(thresholds, start=1):
        weighted = np.asarray(probabilities[k], dtype=np.float32) * np.float32((1 - threshold) / threshold)
        stronger = weighted > best + np.float32(TIE)
        codes[stronger] = k
        best = np.where(stronger, weighted, best)
    return codes
