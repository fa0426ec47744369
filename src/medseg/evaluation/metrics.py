"""Every metric as a record: what it is called, what it means, and what it does with empty masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from medseg.evaluation import overlap, surfaces
from medseg.evaluation.overlap import Counts
from medseg.evaluation.surfaces import Mask, SurfaceDistances

Outcome = Literal["computed", "nan", "zero", "diagonal"]
Status = Literal["ok", "nan", "missed"]

_WORDS: dict[Outcome, str] = {
    "computed": "by the formula",
    "nan": "not a number",
    "zero": "0",
    "diagonal": "the image's diagonal",
}


@dataclass(frozen=True)
class EmptyPolicy:
    """What is said where exactly one mask is empty. Where both are, it is always not a number.

    Attributes:
        prediction_empty: the label is there and nothing was predicted.
        reference_empty: the label is not there and something was predicted.
    """

    prediction_empty: Outcome
    reference_empty: Outcome

    def __str__(self) -> str:
        missed, alarm = _WORDS[self.prediction_empty], _WORDS[self.reference_empty]
        only = f"only one: {missed}"
        if missed != alarm:
            only = f"only the prediction: {missed}; only the reference: {alarm}"
        return f"both empty: not a number, not averaged; {only}"


@dataclass
class Pair:
    """One label of one case: both masks, and what several metrics need of them, computed once.

    Attributes:
        counts: over the whole grid, without ignored voxels.
        reference: the mask, cropped as you like, without ignored voxels.
        prediction: the mask, in the same box.
        spacing: mm per axis.
        axes: the axes of the grid that have more than one voxel.
        diagonal: of the grid, in mm.
        tolerance: of the surface Dice, in mm.
    """

    counts: Counts
    reference: Mask
    prediction: Mask
    spacing: tuple[float, ...]
    axes: tuple[int, ...]
    diagonal: float
    tolerance: float

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Between the two boundaries, in mm."""
        return surfaces.surface_distances(self.reference, self.prediction, self.spacing, self.axes)

    @property
    def voxel_mm3(self) -> float:
        """The volume of a voxel."""
        return math.prod(self.spacing)


@dataclass(frozen=True)
class Metric:
    """A metric and its receipt.

    Attributes:
        name: as in ``cases.csv``.
        title: as in tables.
        definition: one sentence; ``{tolerance}`` stands for the setting in mm.
        unit: ``1`` (a share), ``mm`` or ``ml``.
        better: which way is good.
        empty_policy: what is said of empty masks.
        compute: the value for two masks that are not empty.
    """

    name: str
    title: str
    definition: str
    unit: str
    better: Literal["higher", "lower"]
    empty_policy: EmptyPolicy
    compute: Callable[[Pair], float] = field(repr=False)

    def measure(self, pair: Pair) -> tuple[float, Status]:
        """The value and whether it is ``ok``, ``nan`` (not averaged) or ``missed`` (one mask empty)."""
        reference, prediction = pair.counts.reference, pair.counts.prediction
        if reference and prediction:
            value = self.compute(pair)
            return value, "nan" if math.isnan(value) else "ok"
        if not reference and not prediction:
            return math.nan, "nan"
        policy = self.empty_policy
        value = self._settle(policy.prediction_empty if reference else policy.reference_empty, pair)
        return value, "nan" if math.isnan(value) else "missed"

    def _settle(self, outcome: Outcome, pair: Pair) -> float:
        if outcome == "computed":
            return self.compute(pair)
        return {"nan": math.nan, "zero": 0.0, "diagonal": pair.diagonal}[outcome]


_ZERO = EmptyPolicy("zero", "zero")
_FORMULA = EmptyPolicy("computed", "computed")
_DIAGONAL = EmptyPolicy("diagonal", "diagonal")
# Left out where the reference is empty whatever is predicted: no model gains by what it says there.
_FOUND = EmptyPolicy("zero", "nan")
_RELATIVE = EmptyPolicy("computed", "nan")

_ALL = (
    Metric(
        "dice",
        "Dice",
        "2 TP / (2 TP + FP + FN) over voxels.",
        "1",
        "higher",
        _ZERO,
        lambda pair: overlap.dice(pair.counts),
    ),
    Metric(
        "iou",
        "IoU",
        "TP / (TP + FP + FN) over voxels (Jaccard index).",
        "1",
        "higher",
        _ZERO,
        lambda pair: overlap.iou(pair.counts),
    ),
    Metric(
        "sensitivity",
        "Sensitivity",
        "TP / (TP + FN): the share of the reference that was found (recall).",
        "1",
        "higher",
        _FOUND,
        lambda pair: overlap.sensitivity(pair.counts),
    ),
    Metric(
        "specificity",
        "Specificity",
        "TN / (TN + FP) over the whole image; close to 1 for every small structure.",
        "1",
        "higher",
        _FORMULA,
        lambda pair: overlap.specificity(pair.counts),
    ),
    Metric(
        "precision",
        "Precision",
        "TP / (TP + FP): the share of the prediction that is right.",
        "1",
        "higher",
        _ZERO,
        lambda pair: overlap.precision(pair.counts),
    ),
    Metric(
        "volume_error",
        "Volume error",
        "Absolute difference of the predicted and the reference volume, in ml (1 ml = 1000 mm³).",
        "ml",
        "lower",
        _FORMULA,
        lambda pair: overlap.volume_error(pair.counts, pair.voxel_mm3),
    ),
    Metric(
        "relative_volume_error",
        "Relative volume error",
        "Absolute difference of the two volumes as a share of the reference volume.",
        "1",
        "lower",
        _RELATIVE,
        lambda pair: overlap.relative_volume_error(pair.counts),
    ),
    Metric(
        "hd",
        "Hausdorff",
        "Largest distance from a boundary voxel of one mask to the nearest boundary voxel of the other, "
        "both directions, between voxel centres, in mm.",
        "mm",
        "lower",
        _DIAGONAL,
        lambda pair: surfaces.hausdorff(pair.distances),
    ),
    Metric(
        "hd95",
        "HD95",
        "The larger of the two directed 95th percentiles of the boundary distances, "
        "linear between ranks, in mm.",
        "mm",
        "lower",
        _DIAGONAL,
        lambda pair: surfaces.hausdorff_percentile(pair.distances),
    ),
    Metric(
        "assd",
        "ASSD",
        "Mean boundary distance over the boundary voxels of both masks, in mm.",
        "mm",
        "lower",
        _DIAGONAL,
        lambda pair: surfaces.average_distance(pair.distances),
    ),
    Metric(
        "surface_dice",
        "Surface Dice",
        "Share of the boundary voxels of both masks that lie within {tolerance} mm of the other boundary.",
        "1",
        "higher",
        _ZERO,
        lambda pair: surfaces.surface_dice(pair.distances, pair.tolerance),
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by its name."""
