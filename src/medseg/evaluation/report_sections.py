"""The report's sections on volumes, lesions and probabilities, as plain values for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.evaluation.agreement import DIFFERENCE, VOLUME, Agreement, bland_altman
from medseg.evaluation.calibration import Reliability
from medseg.evaluation.cases import Row
from medseg.evaluation.lesions import LesionCounts, f1, precision, sensitivity
from medseg.evaluation.reliability_file import read_reliability
from medseg.evaluation.report_parts import Chart
from medseg.evaluation.scatter import bland_altman_plot, reliability_plot
from medseg.evaluation.summary import Statistics, Summary

_MOST_PLOTS = 6
_COUNTS = ("lesions_reference", "lesions_prediction", "lesions_found")


@dataclass(frozen=True)
class VolumeSection:
    """Agreement of volumes: a line per label, and pictures of the first of them."""

    lines: tuple[tuple[str, Agreement], ...]
    charts: tuple[Chart, ...]
    repeated: bool


def agreement(rows: Sequence[Row], confidence: float) -> VolumeSection | None:
    """Bland and Altman's table and plots, where both metrics of volume were computed."""
    if not {VOLUME, DIFFERENCE} <= {row.metric for row in rows}:
        return None
    found = tuple(bland_altman(rows, confidence).items())
    charts = tuple(Chart(label, bland_altman_plot(one)) for label, one in found[:_MOST_PLOTS])
    return VolumeSection(found, charts, any(one.patients < one.n for _, one in found)) if found else None


@dataclass(frozen=True)
class LesionLine:
    """Lesions of all cases together, and the mean of the cases' F1."""

    label: str
    counts: LesionCounts
    sensitivity: float
    precision: float
    f1: float
    per_case: Statistics | None


def lesions(rows: Sequence[Row], summary: Summary) -> list[LesionLine]:
    """A line per label, where lesions were counted."""
    lines = []
    for label, by in summary.labels.items():
        sums = [
            sum(
                round(row.value)
                for row in rows
                if (row.label, row.metric) == (label, name) and row.status != "nan"
            )
            for name in _COUNTS
        ]
        if all(name in by for name in _COUNTS):
            counts = LesionCounts(*sums)
            shares = sensitivity(counts), precision(counts), f1(counts)
            lines.append(LesionLine(label, counts, *shares, by.get("lesion_f1")))
    return lines


@dataclass(frozen=True)
class CalibrationSection:
    """The reliability diagram, and a line per label: over all voxels of all cases."""

    chart: Chart
    lines: tuple[tuple[str, Reliability], ...]


def calibration(rows: Sequence[Row], predictions: Path) -> CalibrationSection | None:
    """Reliability over all cases that were scored with their probabilities, where that was written."""
    cases = list(dict.fromkeys(row.case for row in rows if row.metric in ("ece", "brier")))
    total = read_reliability(predictions, cases)
    order = [label for label in dict.fromkeys(row.label for row in rows) if label in total]
    found = tuple((label, total[label]) for label in order)
    if not found:
        return None
    legend = tuple((f"s{index % 6}", label) for index, (label, _) in enumerate(found))
    return CalibrationSection(Chart("Reliability", reliability_plot(found), legend), found)
