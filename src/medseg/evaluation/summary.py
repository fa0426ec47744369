"""What the rows of an evaluation add up to, each number with its receipt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.evaluation.bootstrap import Interval, interval_of_mean
from medseg.evaluation.cases import Row
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.settings import METRIC_NAMES, EvaluationSettings
from medseg.files import write_json


@dataclass(frozen=True)
class Receipt:
    """What must be known to read a number."""

    name: str
    title: str
    definition: str
    unit: str
    better: str
    empty_policy: str


@dataclass(frozen=True)
class Statistics:
    """One metric over cases, for one label or over the labels.

    Attributes:
        mean: over the ``n`` values; ``None``, as all the others, where there are none.
        interval: bootstrap interval of the mean over patients.
        median: of the values.
        sd: standard deviation of the sample (n - 1).
        minimum: the smallest value.
        maximum: the largest value.
        n: values that were averaged, missed ones included.
        n_nan: cases left out because the value is not a number.
        n_missed: cases among ``n`` in which exactly one of the two masks is empty.
    """

    mean: float | None
    interval: Interval | None
    median: float | None
    sd: float | None
    minimum: float | None
    maximum: float | None
    n: int
    n_nan: int
    n_missed: int


@dataclass(frozen=True)
class Summary:
    """Everything about one set of cases.

    Attributes:
        part: the name of the set, as ``test``.
        cases: how many cases.
        patients: how many patients.
        labels: label -> metric -> statistics over cases.
        overall: metric -> statistics over labels. Its mean is the unweighted mean of the labels'
            means; its counts are sums over the labels, its median and spread are of the labels' means.
        receipts: metric -> what it means.
        confidence: the coverage of the intervals.
    """

    part: str
    cases: int
    patients: int
    labels: dict[str, dict[str, Statistics]]
    overall: dict[str, Statistics]
    receipts: dict[str, Receipt]
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what cannot be given is ``null``, never NaN."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Writes the summary as JSON, atomically."""
        write_json(path, self.to_json())


def receipt(metric: str, settings: EvaluationSettings) -> Receipt:
    """The receipt of a metric as it was computed with ``settings``."""
    record = METRICS[metric]
    definition = record.definition.format(**settings.words)
    return Receipt(metric, record.title, definition, record.unit, record.better, str(record.empty_policy))


def summarise(rows: Iterable[Row], settings: EvaluationSettings | None = None) -> dict[str, Summary]:
    """One summary per part, in the order in which the parts occur."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.part, []).append(row)
    settings = settings or EvaluationSettings()
    return {part: _summarise_part(part, chosen, settings) for part, chosen in parts.items()}


def _summarise_part(part: str, rows: Sequence[Row], settings: EvaluationSettings) -> Summary:
    cells: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        cells.setdefault(row.label, {}).setdefault(row.metric, []).append(row)
    names = {row.metric for row in rows}
    metrics = [name for name in METRIC_NAMES if name in names]
    return Summary(
        part=part,
        cases=len({row.case for row in rows}),
        patients=len({row.patient for row in rows}),
        labels={
            label: {metric: statistics(by[metric], settings) for metric in metrics if metric in by}
            for label, by in cells.items()
        },
        overall={
            metric: _overall([by.get(metric, []) for by in cells.values()], settings) for metric in metrics
        },
        receipts={metric: receipt(metric, settings) for metric in metrics},
        confidence=settings.confidence,
    )


def statistics(rows: Sequence[Row], settings: EvaluationSettings) -> Statistics:
    """The statistics of one metric and label over the cases of ``rows``."""
    usable = [row for row in rows if row.status != "nan"]
    group = {"": [(row.patient, row.value) for row in usable]}
    interval = interval_of_mean(group, settings.bootstrap, settings.confidence, settings.seed)
    return _describe([row.value for row in usable], interval, rows)


def _overall(groups: Sequence[Sequence[Row]], settings: EvaluationSettings) -> Statistics:
    values = {
        str(index): [(row.patient, row.value) for row in group if row.status != "nan"]
        for index, group in enumerate(groups)
    }
    values = {key: group for key, group in values.items() if group}
    means = [math.fsum(value for _, value in group) / len(group) for group in values.values()]
    interval = interval_of_mean(values, settings.bootstrap, settings.confidence, settings.seed)
    return _describe(means, interval, [row for group in groups for row in group])


def _describe(values: Sequence[float], interval: Interval | None, rows: Sequence[Row]) -> Statistics:
    n_nan = sum(row.status == "nan" for row in rows)
    counts = {
        "n": len(rows) - n_nan,
        "n_nan": n_nan,
        "n_missed": sum(row.status == "missed" for row in rows),
    }
    if not values:
        return Statistics(None, None, None, None, None, None, **counts)
    return Statistics(
        mean=math.fsum(values) / len(values),
        interval=interval,
        median=float(np.median(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        minimum=min(values),
        maximum=max(values),
        **counts,
    )
