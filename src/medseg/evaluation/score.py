"""One case scored: reference against prediction, on their own grid, every label and metric."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.evaluation.calibration import Reliability
from medseg.evaluation.cases import Row
from medseg.evaluation.code_maps import CodeMaps, Codes
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.overlap import label_counts
from medseg.evaluation.pair import Pair
from medseg.evaluation.settings import EvaluationSettings


def diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """The length of the grid's diagonal in mm, from outer corner to outer corner.

    An axis of a single voxel does not count: a 2D image has no depth to be wrong in.
    """
    return math.hypot(*(n * step for n, step in zip(shape, spacing, strict=True) if n > 1)) or max(spacing)


def score_case(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    labels: Labels,
    spacing: Sequence[float],
    settings: EvaluationSettings | None = None,
    *,
    case: str = "",
    patient: str = "",
    centre: str | None = None,
    part: str = "",
    reliabilities: Sequence[Reliability | None] | None = None,
) -> list[Row]:
    """Every chosen metric for every label.

    Args:
        reference: codes ``(W, H, D)``, or ``(W, H)``; voxels of code 255 are left out of both masks.
        prediction: codes on the same grid; a predicted 255 is just not any label.
        labels: which codes make up each class or region.
        spacing: mm per axis.
        settings: which metrics, and what they need to know.
        case: the case id for the rows.
        patient: the patient's id; the case's where it is left out.
        centre: where the case comes from.
        part: the set of cases this one belongs to.
        reliabilities: of each label's probabilities; without them, there are no rows of calibration.

    Raises:
        UserError: the grids differ, the spacing is not positive, or codes lie outside 0 to 255.
    """
    settings = settings or EvaluationSettings()
    steps = _spacing(spacing, reference.ndim, case)
    _require_one_grid(reference, prediction, case)
    truth, guess = _codes(reference, case), _codes(prediction, case)
    pairs = label_pairs(truth, guess, labels, steps, settings, reliabilities)
    rows = []
    for name, pair in zip(labels.names, pairs, strict=True):
        for metric in (METRICS[key] for key in settings.chosen):
            if metric.family == "calibration" and reliabilities is None:
                continue
            value, status = metric.measure(pair)
            about = (case, patient or case, centre or "", part, name, metric.name)
            rows.append(Row(*about, value, metric.unit, status))
    return rows


def label_pairs(
    truth: Codes,
    guess: Codes,
    labels: Labels,
    spacing: tuple[float, ...],
    settings: EvaluationSettings,
    reliabilities: Sequence[Reliability | None] | None = None,
) -> Iterator[Pair]:
    """Both masks of one label after another; the volumes are read once for all of them."""
    maps, extent = CodeMaps(truth, guess), diagonal(truth.shape, spacing)
    known = reliabilities or [None] * len(labels.names)
    for codes, found in zip(labels.members, known, strict=True):
        counts = label_counts(maps.table, codes)
        yield Pair(counts, codes, truth, guess, maps, spacing, extent, settings, found)


def _require_one_grid(reference: NDArray[Any], prediction: NDArray[Any], case: str) -> None:
    if reference.shape != prediction.shape:
        problem = f"the prediction is {prediction.shape} voxels, the reference {reference.shape}"
        raise UserError(case or "prediction", problem, "predict again on the case's own grid")


def _codes(volume: NDArray[Any], case: str) -> Codes:
    if volume.dtype == np.uint8:
        return volume
    if volume.dtype.kind not in "bui" or (volume.size and (volume.min() < 0 or volume.max() > 255)):
        problem = f"labels are {volume.dtype} and not all codes from 0 to 255"
        raise UserError(case or "labels", problem, "map the file's values to codes first")
    return volume.astype(np.uint8)


def _spacing(spacing: Sequence[float], ndim: int, case: str) -> tuple[float, ...]:
    steps = tuple(float(step) for step in spacing)
    if len(steps) != ndim or not all(math.isfinite(step) and step > 0 for step in steps):
        problem = f"spacing {steps} is not {ndim} positive numbers of mm"
        raise UserError(case or "spacing", problem, "mend the header of the label file")
    return steps
