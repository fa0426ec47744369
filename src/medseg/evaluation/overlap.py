"""How much two masks share, from one table of counts."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE
from medseg.evaluation.code_maps import CodeMaps


@dataclass(frozen=True)
class Counts:
    """Voxels of one label: true and false positives and negatives, without the ignored ones."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def reference(self) -> int:
        """Voxels of the reference."""
        return self.tp + self.fn

    @property
    def prediction(self) -> int:
        """Voxels of the prediction."""
        return self.tp + self.fp


def confusion(reference: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Counts the pairs of codes in one pass: ``(256, 256)``, reference codes down, predicted across."""
    return CodeMaps(reference, prediction).table


def label_counts(table: NDArray[np.int64], codes: Collection[int]) -> Counts:
    """The counts of the union of ``codes``; voxels that the reference ignores are left out."""
    inside = np.zeros(256, dtype=bool)
    inside[list(codes)] = True
    inside[IGNORE] = False
    valid = np.arange(256) != IGNORE
    tp = int(table[np.ix_(inside, inside)].sum())
    fn = int(table[inside].sum()) - tp
    fp = int(table[np.ix_(valid, inside)].sum()) - tp
    return Counts(tp, fp, fn, int(table[valid].sum()) - tp - fn - fp)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def dice(counts: Counts) -> float:
    """``2 TP / (2 TP + FP + FN)`` (Dice 1945, Sorensen 1948)."""
    return _share(2 * counts.tp, counts.reference + counts.prediction)


def iou(counts: Counts) -> float:
    """``TP / (TP + FP + FN)`` (Jaccard 1912)."""
    return _share(counts.tp, counts.tp + counts.fp + counts.fn)


def sensitivity(counts: Counts) -> float:
    """``TP / (TP + FN)``: the share of the reference that was found."""
    return _share(counts.tp, counts.reference)


def specificity(counts: Counts) -> float:
    """``TN / (TN + FP)``: the share of the rest of the image that was left alone."""
    return _share(counts.tn, counts.tn + counts.fp)


def precision(counts: Counts) -> float:
    """``TP / (TP + FP)``: the share of the prediction that is right."""
    return _share(counts.tp, counts.prediction)


def volume_difference(counts: Counts, voxel_mm3: float) -> float:
    """The predicted less the reference volume in ml."""
    return (counts.prediction - counts.reference) * voxel_mm3 / 1000.0


def volume_error(counts: Counts, voxel_mm3: float) -> float:
    """The absolute difference of the two volumes in ml."""
    return abs(volume_difference(counts, voxel_mm3))


def relative_volume_error(counts: Counts) -> float:
    """The absolute difference of the two volumes as a share of the reference's."""
    return _share(abs(counts.prediction - counts.reference), counts.reference)
