"""What an evaluation may be asked to do; light, because the configuration check imports it."""

from __future__ import annotations

import math
from dataclasses import dataclass

METRIC_NAMES = (
    "dice",
    "iou",
    "sensitivity",
    "specificity",
    "precision",
    "volume_error",
    "relative_volume_error",
    "hd",
    "hd95",
    "assd",
    "surface_dice",
)
"""Every metric there is; `medseg.evaluation.metrics.METRICS` holds their definitions."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How predictions are scored and what the report shows.

    Attributes:
        metrics: the names to compute, or ``None`` for all of `METRIC_NAMES`.
        surface_tolerance_mm: how far apart two surfaces may be and still agree (surface Dice), in mm.
        bootstrap: resamples of the patients behind each interval; 0 for no intervals.
        confidence: the coverage of the intervals.
        seed: of the bootstrap.
        worst_cases: cases drawn in the report, worst first; a median case is added.
        workers: cases scored at once, or ``None`` for as many as this process may use cores.
    """

    metrics: list[str] | None = None
    surface_tolerance_mm: float = 2.0
    bootstrap: int = 2000
    confidence: float = 0.95
    seed: int = 0
    worst_cases: int = 3
    workers: int | None = None

    @property
    def chosen(self) -> tuple[str, ...]:
        """The metrics to compute, in the order of `METRIC_NAMES`."""
        if self.metrics is None:
            return METRIC_NAMES
        return tuple(name for name in METRIC_NAMES if name in self.metrics)

    def problems(self) -> list[str]:
        """Every value that cannot work, one line each."""
        found = []
        known = ", ".join(METRIC_NAMES)
        if self.metrics is not None:
            unknown = [name for name in self.metrics if name not in METRIC_NAMES]
            found += [f"metrics: there is no metric {name!r}; choose from {known}" for name in unknown]
            if not self.metrics:
                found.append(f"metrics: none is chosen; leave it null for all, or choose from {known}")
        if not (math.isfinite(self.surface_tolerance_mm) and self.surface_tolerance_mm >= 0):
            found.append("surface_tolerance_mm: must be a distance in mm; give 0 or more")
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
