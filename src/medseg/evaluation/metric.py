"""What a metric is: a name, a meaning, and what it does with empty masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from medseg.evaluation.pair import Pair

Outcome = Literal["computed", "nan", "zero", "diagonal"]
Status = Literal["ok", "nan", "missed"]
Better = Literal["higher", "lower", "zero", "neither"]
Family = Literal["overlap", "volume", "surface", "centreline", "lesion", "calibration"]

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


@dataclass(frozen=True)
class Metric:
    """A metric and its receipt.

    Attributes:
        name: as in ``cases.csv``.
        title: as in tables.
        definition: one sentence; words in braces are those of `EvaluationSettings.words`.
        unit: ``1`` (a share), ``mm``, ``ml`` or ``lesions``.
        better: which way is good; ``zero`` for what should be near 0, ``neither`` for what only describes.
        empty_policy: what is said of empty masks.
        family: what it looks at; ``calibration`` needs probabilities and is left out without them.
        compute: the value for two masks that are not empty.
    """

    name: str
    title: str
    definition: str
    unit: str
    better: Better
    empty_policy: EmptyPolicy
    family: Family
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
