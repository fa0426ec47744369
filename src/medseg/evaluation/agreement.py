"""Agreement of predicted and reference volumes after Bland and Altman (1986, 1999)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import UserError
from medseg.evaluation.bootstrap import Interval
from medseg.evaluation.cases import Row

if TYPE_CHECKING:
    import pandas as pd

VOLUME, DIFFERENCE = "volume_reference", "volume_difference"
_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Point:
    """One case: the mean of its two volumes, and predicted minus reference, in ml."""

    case: str
    mean: float
    difference: float
    missed: bool


@dataclass(frozen=True)
class Agreement:
    """How far predicted volumes are from the reference's, in ml.

    What cannot be given is ``None``: all but ``bias`` with one case.

    Attributes:
        points: every case in which either mask holds something.
        n: how many.
        patients: of how many patients. Intervals take cases for independent, and are too narrow where
            patients have several.
        n_missed: cases in which exactly one mask is empty.
        confidence: the coverage of the intervals.
        bias: the mean difference, predicted minus reference.
        bias_interval: of the bias, by Student's t.
        sd: standard deviation of the differences (n - 1).
        lower: the lower 95 % limit of agreement, ``bias - 1.96 sd``.
        lower_interval: of the lower limit, by the standard error of Bland and Altman (1999).
        upper: the upper limit.
        upper_interval: of the upper limit.
    """

    points: tuple[Point, ...]
    n: int
    patients: int
    n_missed: int
    confidence: float
    bias: float
    bias_interval: Interval | None = None
    sd: float | None = None
    lower: float | None = None
    lower_interval: Interval | None = None
    upper: float | None = None
    upper_interval: Interval | None = None


def bland_altman(rows: Iterable[Row] | pd.DataFrame, confidence: float = 0.95) -> dict[str, Agreement]:
    """Bias and 95 % limits of agreement of the volumes, per label.

    Args:
        rows: of one set of cases, or a data frame with the columns of ``cases.csv``; those of
            ``volume_reference`` and ``volume_difference`` are read. Cases where both masks are empty are
            left out.
        confidence: the coverage of the intervals.

    Raises:
        UserError: a case occurs twice, or has only one of the two rows.
    """
    values: dict[str, dict[str, dict[str, Mapping[str, Any]]]] = {}
    for row in _records(rows):
        if row["metric"] in (VOLUME, DIFFERENCE) and row["status"] != "nan":
            case = values.setdefault(row["label"], {}).setdefault(row["case"], {})
            if row["metric"] in case:
                raise UserError(row["case"], "occurs twice among the rows", "give the rows of one part alone")
            case[row["metric"]] = row
    return {label: _agreement(cases, confidence) for label, cases in values.items()}


def _records(rows: Iterable[Row] | pd.DataFrame) -> Iterable[Mapping[str, Any]]:
    as_dicts: Callable[[str], list[dict[str, Any]]] | None = getattr(rows, "to_dict", None)
    return as_dicts("records") if as_dicts else (vars(row) for row in rows)


def _agreement(cases: Mapping[str, Mapping[str, Mapping[str, Any]]], confidence: float) -> Agreement:
    points = []
    for case, found in cases.items():
        if len(found) < 2:
            problem = f"has no {VOLUME if DIFFERENCE in found else DIFFERENCE}"
            raise UserError(case, problem, "compute both metrics")
        difference = float(found[DIFFERENCE]["value"])
        mean = float(found[VOLUME]["value"]) + difference / 2.0
        points.append(Point(case, mean, difference, found[VOLUME]["status"] == "missed"))
    differences = np.array([point.difference for point in points])
    bias = math.fsum(differences) / len(differences)
    patients = {row["patient"] for found in cases.values() for row in found.values()}
    missed = sum(point.missed for point in points)
    plain = Agreement(tuple(points), len(points), len(patients), missed, confidence, bias)
    return _with_limits(plain, float(np.std(differences, ddof=1))) if len(points) > 1 else plain


def _with_limits(plain: Agreement, sd: float) -> Agreement:
    from scipy.stats import t

    n, bias = plain.n, plain.bias
    quantile = float(t.ppf((1.0 + plain.confidence) / 2.0, n - 1))
    of_bias = quantile * sd / math.sqrt(n)
    of_limit = quantile * sd * math.sqrt(1.0 / n + _NORMAL_95**2 / (2.0 * (n - 1)))
    lower, upper = bias - _NORMAL_95 * sd, bias + _NORMAL_95 * sd
    return replace(
        plain,
        bias_interval=(bias - of_bias, bias + of_bias),
        sd=sd,
        lower=lower,
        lower_interval=(lower - of_limit, lower + of_limit),
        upper=upper,
        upper_interval=(upper - of_limit, upper + of_limit),
    )
