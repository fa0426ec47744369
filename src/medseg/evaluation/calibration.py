"""Whether probabilities are what they say: expected calibration error, Brier score, reliability bins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE, Labels
from medseg.evaluation.settings import EvaluationSettings

Codes = NDArray[np.uint8]
Probability = NDArray[np.floating]


@dataclass(frozen=True)
class Reliability:
    """The probabilities of one label in bins of equal width from 0 to 1.

    Attributes:
        counts: ``(bins,)`` voxels.
        confidence: ``(bins,)`` sums of the probabilities.
        positives: ``(bins,)`` voxels that have the label in the reference.
        squares: sum over all voxels of the squared difference of probability and presence.
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    positives: NDArray[np.int64]
    squares: float

    @property
    def ece(self) -> float:
        """The mean over voxels of how far a bin's mean probability is from its share of positives."""
        n = int(self.counts.sum())
        return float(np.abs(self.confidence - self.positives).sum()) / n if n else math.nan

    @property
    def brier(self) -> float:
        """The mean squared difference of probability and presence (Brier 1950)."""
        n = int(self.counts.sum())
        return self.squares / n if n else math.nan


def reliability(probability: Probability, present: NDArray[np.bool_], bins: int) -> Reliability:
    """Bins of equal width; the last one holds 1 as well (Guo 2017, for one label against the rest).

    Args:
        probability: of the label, any shape.
        present: whether a voxel has the label, the same shape.
        bins: how many.
    """
    values, inside = probability.ravel().astype(np.float64), present.ravel()
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    return Reliability(
        np.bincount(place, minlength=bins),
        np.bincount(place, weights=values, minlength=bins).astype(np.float64),
        np.bincount(place[inside], minlength=bins),
        float(((values - inside) ** 2).sum()),
    )


def label_reliabilities(
    channels: Iterable[Probability],
    truth: Codes,
    labels: Labels,
    spacing: Sequence[float],
    settings: EvaluationSettings,
) -> list[Reliability | None]:
    """Per label its reliability, ignored voxels left out; ``None`` where the reference has none of it.

    Args:
        channels: per label its probability on the grid of ``truth``.
        truth: the reference's codes.
        labels: which codes make up each label.
        spacing: mm per axis.
        settings: bins and region.
    """
    found: list[Reliability | None] = []
    for channel, codes in zip(channels, labels.members, strict=True):
        present = np.isin(truth, codes)
        region = _region(present, spacing, settings)
        if region is None:
            found.append(None)
            continue
        valid = truth[region] != IGNORE
        found.append(reliability(channel[region][valid], present[region][valid], settings.calibration_bins))
    return found


def _region(
    present: NDArray[np.bool_], spacing: Sequence[float], settings: EvaluationSettings
) -> tuple[slice, ...] | None:
    """Where calibration is looked at: it must not depend on the prediction, or models choose it."""
    from medseg.evaluation.surfaces import bounding_box

    box = bounding_box(present)
    if box is None or settings.calibration_region == "image":
        return box and tuple(slice(0, n) for n in present.shape)
    # Half a step more: voxels just at the margin belong to it whatever a header's rounding says.
    grow = [int(settings.calibration_margin_mm / step + 1e-5) for step in spacing]
    return tuple(
        slice(max(side.start - more, 0), side.stop + more) for side, more in zip(box, grow, strict=True)
    )
