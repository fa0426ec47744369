"""Methods made of a few scores, for the tests of comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from medseg.evaluation.cases import Row
from medseg.evaluation.methods import Costs, Method, Training

Scores = Mapping[str, float]
"""``patient/case`` or a name for both -> value; NaN for both masks empty."""


def rows(scores: Scores, label: str = "organ", metric: str = "dice", missed: Sequence[str] = ()) -> list[Row]:
    """A row per score."""
    found = []
    for name, value in scores.items():
        patient, _, case = name.rpartition("/")
        status = "nan" if math.isnan(value) else "missed" if name in missed else "ok"
        unit = "mm" if metric == "hd95" else "1"
        found.append(Row(case, patient or case, "", "validation", label, metric, value, unit, status))
    return found


def method(name: str, *seeds: Scores, fold: int = 0, costs: Costs | None = None) -> Method:
    """A method with a training per seed, all of one fold."""
    trainings = tuple(Training(f"{name}{s}", s, fold, tuple(rows(own))) for s, own in enumerate(seeds))
    return Method(name, (("method", name),), trainings, costs or Costs())
