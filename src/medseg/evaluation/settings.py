"""What an evaluation may be asked to do; light, because the configuration check imports it."""

from __future__ import annotations

import math
from dataclasses import dataclass

DEFAULT_METRICS = (
    "dice",
    "iou",
    "sensitivity",
    "specificity",
    "precision",
    "volume_error",
    "relative_volume_error",
    "volume_reference",
    "volume_difference",
    "hd",
    "hd95",
    "assd",
    "surface_dice",
    "ece",
    "brier",
)
"""What is computed unless told otherwise: cheap, and sensible for any structure."""

METRIC_NAMES = (
    *DEFAULT_METRICS[:13],
    "hd95_area",
    "surface_dice_area",
    "cldice",
    "lesion_f1",
    "lesion_sensitivity",
    "lesion_precision",
    "lesions_reference",
    "lesions_prediction",
    "lesions_found",
    *DEFAULT_METRICS[13:],
)
"""Every metric there is; `medseg.evaluation.metrics.METRICS` holds their definitions."""

GROUPS: dict[str, tuple[str, ...]] = {
    "default": DEFAULT_METRICS,
    "all": METRIC_NAMES,
    "lesions": tuple(name for name in METRIC_NAMES if name.startswith("lesion")),
}
"""Words that stand for several metrics."""

CONNECTIVITY = {6: 1, 18: 2, 26: 3}
"""Neighbours of a voxel in 3D -> along how many axes a neighbour may lie beside it."""
REGIONS = ("box", "image")


@dataclass(frozen=True)
class EvaluationSettings:
    """How predictions are scored and what the report shows.

    Attributes:
        metrics: names of `METRIC_NAMES` and `GROUPS` to compute, or ``None`` for `DEFAULT_METRICS`.
        surface_tolerance_mm: how far apart two surfaces may be and still agree (surface Dice), in mm.
        lesion_connectivity: 6, 18 or 26 neighbours hold a lesion together in 3D; 4, 8 and 8 in 2D.
        lesion_iou: the least IoU of a lesion and its match; 0 for any overlap.
        calibration_bins: of equal width, for the calibration error and the reliability diagram.
        calibration_region: whose voxels are looked at: ``box`` (around each label's reference) or ``image``.
        calibration_margin_mm: how much wider the box is on each side, in mm.
        bootstrap: resamples of the patients behind each interval; 0 for no intervals.
        confidence: the coverage of the intervals.
        seed: of the bootstrap.
        worst_cases: cases drawn in the report, worst first; a median case is added.
        workers: cases scored at once, or ``None`` for as many as this process may use cores.
    """

    metrics: list[str] | None = None
    surface_tolerance_mm: float = 2.0
    lesion_connectivity: int = 26
    lesion_iou: float = 0.1
    calibration_bins: int = 15
    calibration_region: str = "box"
    calibration_margin_mm: float = 10.0
    bootstrap: int = 2000
    confidence: float = 0.95
    seed: int = 0
    worst_cases: int = 3
    workers: int | None = None

    @property
    def chosen(self) -> tuple[str, ...]:
        """The metrics to compute, in the order of `METRIC_NAMES`."""
        if self.metrics is None:
            return DEFAULT_METRICS
        wanted = {name for word in self.metrics for name in GROUPS.get(word, (word,))}
        return tuple(name for name in METRIC_NAMES if name in wanted)

    @property
    def words(self) -> dict[str, str]:
        """What the definitions of the metrics say of these settings."""
        margin = f"{self.calibration_margin_mm:g}"
        box = f"of the box around the reference, {margin} mm wider on each side"
        return {
            "tolerance": f"{self.surface_tolerance_mm:g}",
            "connectivity": str(self.lesion_connectivity),
            "overlap": f"an IoU of {self.lesion_iou:g} or more" if self.lesion_iou else "any overlap",
            "bins": str(self.calibration_bins),
            "region": box if self.calibration_region == "box" else "of the whole image",
        }

    def problems(self) -> list[str]:
        """Every value that cannot work, one line each."""
        found = [*self._metric_problems(), *self._definition_problems()]
        if not 0 <= self.bootstrap <= 100_000:
            found.append("bootstrap: must be a number of resamples; give 0 (no intervals) to 100000")
        if not 0 < self.confidence < 1:
            found.append("confidence: must be a share; give a number between 0 and 1, as 0.95")
        if self.seed < 0:
            found.append("seed: must not be negative; give 0 or more")
        if self.worst_cases < 0:
            found.append("worst_cases: must not be negative; give 0 or more")
        if self.workers is not None and self.workers < 1:
            found.append("workers: must be a number of cases at once; give 1 or more, or null")
        return found

    def _metric_problems(self) -> list[str]:
        if self.metrics is None:
            return []
        known = (*GROUPS, *METRIC_NAMES)
        told = ", ".join(known)
        unknown = [name for name in self.metrics if name not in known]
        found = [f"metrics: there is no metric {name!r}; choose from {told}" for name in unknown]
        if not self.metrics:
            found.append(f"metrics: none is chosen; leave it null for the usual ones, or choose from {told}")
        return found

    def _definition_problems(self) -> list[str]:
        found = []
        if not (math.isfinite(self.surface_tolerance_mm) and self.surface_tolerance_mm >= 0):
            found.append("surface_tolerance_mm: must be a distance in mm; give 0 or more")
        if self.lesion_connectivity not in CONNECTIVITY:
            found.append("lesion_connectivity: must be a number of neighbours in 3D; give 6, 18 or 26")
        if not 0 <= self.lesion_iou <= 1:
            found.append("lesion_iou: must be an IoU; give 0 (any overlap) to 1")
        if not 2 <= self.calibration_bins <= 1000:
            found.append("calibration_bins: must be a number of bins; give 2 to 1000")
        if self.calibration_region not in REGIONS:
            found.append(f"calibration_region: there is no {self.calibration_region!r}; give box or image")
        if not (math.isfinite(self.calibration_margin_mm) and self.calibration_margin_mm >= 0):
            found.append("calibration_margin_mm: must be a distance in mm; give 0 or more")
        return found
