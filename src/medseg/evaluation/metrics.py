"""Every metric as a record: what it is called, what it means, and what it does with empty masks."""

from __future__ import annotations

import math

from medseg.evaluation import area, centreline, lesions, overlap, surfaces
from medseg.evaluation.metric import EmptyPolicy, Metric, Status
from medseg.evaluation.pair import Pair

__all__ = ["METRICS", "EmptyPolicy", "Metric", "Pair", "Status"]

_ZERO = EmptyPolicy("zero", "zero")
_FORMULA = EmptyPolicy("computed", "computed")
_DIAGONAL = EmptyPolicy("diagonal", "diagonal")
# Left out where the reference is empty whatever is predicted: no model gains by what it says there.
_FOUND = EmptyPolicy("zero", "nan")
_RELATIVE = EmptyPolicy("computed", "nan")

_OVERLAP = (
    Metric(
        "dice", "Dice",
        "2 TP / (2 TP + FP + FN) over voxels.",
        "1", "higher", _ZERO, "overlap",
        lambda pair: overlap.dice(pair.counts),
    ),
    Metric(
        "iou", "IoU",
        "TP / (TP + FP + FN) over voxels (Jaccard index).",
        "1", "higher", _ZERO, "overlap",
        lambda pair: overlap.iou(pair.counts),
    ),
    Metric(
        "sensitivity", "Sensitivity",
        "TP / (TP + FN): the share of the reference that was found (recall).",
        "1", "higher", _FOUND, "overlap",
        lambda pair: overlap.sensitivity(pair.counts),
    ),
    Metric(
        "specificity", "Specificity",
        "TN / (TN + FP) over the whole image; close to 1 for every small structure.",
        "1", "higher", _FORMULA, "overlap",
        lambda pair: overlap.specificity(pair.counts),
    ),
    Metric(
        "precision", "Precision",
        "TP / (TP + FP): the share of the prediction that is right.",
        "1", "higher", _ZERO, "overlap",
        lambda pair: overlap.precision(pair.counts),
    ),
)  # fmt: skip

_VOLUME = (
    Metric(
        "volume_error", "Volume error",
        "Absolute difference of the predicted and the reference volume, in ml (1 ml = 1000 mm³).",
        "ml", "lower", _FORMULA, "volume",
        lambda pair: overlap.volume_error(pair.counts, pair.voxel_mm3),
    ),
    Metric(
        "relative_volume_error", "Relative volume error",
        "Absolute difference of the two volumes as a share of the reference volume.",
        "1", "lower", _RELATIVE, "volume",
        lambda pair: overlap.relative_volume_error(pair.counts),
    ),
    Metric(
        "volume_reference", "Reference volume",
        "Volume of the reference, in ml.",
        "ml", "neither", _FORMULA, "volume",
        lambda pair: pair.counts.reference * pair.voxel_mm3 / 1000.0,
    ),
    Metric(
        "volume_difference", "Volume difference",
        "Predicted minus reference volume, in ml: below 0 where too little was predicted.",
        "ml", "zero", _FORMULA, "volume",
        lambda pair: overlap.volume_difference(pair.counts, pair.voxel_mm3),
    ),
)  # fmt: skip

_SURFACE = (
    Metric(
        "hd", "Hausdorff",
        "Largest distance from a boundary voxel of one mask to the nearest boundary voxel of the other, "
        "both directions, between voxel centres, in mm.",
        "mm", "lower", _DIAGONAL, "surface",
        lambda pair: surfaces.hausdorff(pair.distances),
    ),
    Metric(
        "hd95", "HD95",
        "The larger of the two directed 95th percentiles of the boundary distances, "
        "linear between ranks, in mm.",
        "mm", "lower", _DIAGONAL, "surface",
        lambda pair: surfaces.hausdorff_percentile(pair.distances),
    ),
    Metric(
        "assd", "ASSD",
        "Mean boundary distance over the boundary voxels of both masks, in mm.",
        "mm", "lower", _DIAGONAL, "surface",
        lambda pair: surfaces.average_distance(pair.distances),
    ),
    Metric(
        "surface_dice", "Surface Dice",
        "Share of the boundary voxels of both masks that lie within {tolerance} mm of the other boundary.",
        "1", "higher", _ZERO, "surface",
        lambda pair: surfaces.surface_dice(pair.distances, pair.settings.surface_tolerance_mm),
    ),
    Metric(
        "hd95_area", "HD95 by area",
        "DeepMind's HD95: the larger of the two directed 95th percentiles of the distances between surface "
        "elements at voxel corners, by area, without interpolation, in mm.",
        "mm", "lower", _DIAGONAL, "surface",
        lambda pair: area.hausdorff_percentile(pair.elements),
    ),
    Metric(
        "surface_dice_area", "Surface Dice by area",
        "DeepMind's surface Dice: share of both surfaces' area that lies within {tolerance} mm of the other.",
        "1", "higher", _ZERO, "surface",
        lambda pair: area.surface_dice(pair.elements, pair.settings.surface_tolerance_mm),
    ),
)  # fmt: skip

_CENTRELINE = (
    Metric(
        "cldice", "clDice",
        "Harmonic mean of the shares of each mask's centreline that lie in the other mask; for tubes.",
        "1", "higher", _ZERO, "centreline",
        lambda pair: centreline.cldice(*pair.masks, pair.axes),
    ),
)  # fmt: skip

_LESION = (
    Metric(
        "lesion_f1", "Lesion F1",
        "2 found / (lesions of the reference + of the prediction). Lesions are {connectivity}-connected "
        "components; found ones match one predicted lesion each, with {overlap}.",
        "1", "higher", _ZERO, "lesion",
        lambda pair: lesions.f1(pair.lesions),
    ),
    Metric(
        "lesion_sensitivity", "Lesion sensitivity",
        "Share of the reference's lesions that were found.",
        "1", "higher", _FOUND, "lesion",
        lambda pair: lesions.sensitivity(pair.lesions),
    ),
    Metric(
        "lesion_precision", "Lesion precision",
        "Share of the predicted lesions that match a lesion of the reference.",
        "1", "higher", _ZERO, "lesion",
        lambda pair: lesions.precision(pair.lesions),
    ),
    Metric(
        "lesions_reference", "Lesions",
        "Lesions of the reference.",
        "lesions", "neither", _FORMULA, "lesion",
        lambda pair: float(pair.lesions.reference),
    ),
    Metric(
        "lesions_prediction", "Lesions predicted",
        "Lesions of the prediction.",
        "lesions", "neither", _FORMULA, "lesion",
        lambda pair: float(pair.lesions.prediction),
    ),
    Metric(
        "lesions_found", "Lesions found",
        "Lesions of the reference that match a predicted one.",
        "lesions", "neither", _FORMULA, "lesion",
        lambda pair: float(pair.lesions.found),
    ),
)  # fmt: skip

_CALIBRATION = (
    Metric(
        "ece", "ECE",
        "Expected calibration error of the label's probability against its presence, in {bins} bins of equal "
        "width, over the voxels {region}.",
        "1", "lower", _RELATIVE, "calibration",
        lambda pair: pair.reliability.ece if pair.reliability else math.nan,
    ),
    Metric(
        "brier", "Brier score",
        "Mean squared difference of the label's probability and its presence (0 or 1), over the voxels "
        "{region}.",
        "1", "lower", _RELATIVE, "calibration",
        lambda pair: pair.reliability.brier if pair.reliability else math.nan,
    ),
)  # fmt: skip

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*_OVERLAP, *_VOLUME, *_SURFACE, *_CENTRELINE, *_LESION, *_CALIBRATION)
}
"""Every metric by its name."""
