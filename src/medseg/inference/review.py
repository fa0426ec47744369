"""``review.csv``: how good each prediction is likely to be, the doubtful ones first.

The Dice of a mask with a reference that nobody has drawn yet is estimated from the probabilities: if a voxel
belongs to the object with probability ``p``, the expected overlap with a mask ``S`` is the sum of ``p``
over ``S`` and the expected size of the object is the sum of ``p`` over the volume, so

    predicted Dice = 2 sum_S p / (|S| + sum p)

(the expected soft Dice; a ratio of expectations, as the Dice that Nordström, NeurIPS 2022, maximises over S).
It is right as far as the probabilities are calibrated (Popordanoska, MICCAI 2021, on the volume), which
`medseg tune` sees to.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.files import atomic_path
from medseg.postprocess.nesting import Nesting

REVIEW = "review.csv"
PREDICTED, UNSURE, SPREAD = "predicted_dice", "entropy", "mutual_information"
_EMPTY = 0.5
"""Voxels: below this the expected object is none."""


@dataclass(frozen=True)
class ReviewLine:
    """One case.

    Attributes:
        case: its id.
        dice: name -> predicted Dice; not a number where nothing is predicted and nothing expected.
        entropy: mean over the voxels that are predicted as foreground, in nats.
        spread: likewise, what the members disagree about; not a number for a single one.
    """

    case: str
    dice: Mapping[str, float]
    entropy: float
    spread: float

    @property
    def predicted(self) -> float:
        """The mean over the names; 1 where nothing is predicted and nothing expected."""
        known = [value for value in self.dice.values() if not math.isnan(value)]
        return math.fsum(known) / len(known) if known else 1.0


def review_line(
    case: str,
    codes: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    entropy: NDArray[np.float32],
    spread: NDArray[np.float32] | None,
    labels: Labels,
) -> ReviewLine:
    """What is to be told of a case.

    Args:
        case: its id.
        codes: ``(W, H, D)`` as they are written, after post-processing.
        probabilities: ``(K, W, H, D)``.
        entropy: ``(W, H, D)``.
        spread: ``(W, H, D)``, or ``None``.
        labels: what the codes mean.
    """
    nesting, first = Nesting(labels), 0 if labels.overlapping else 1
    dice = {
        name: predicted_dice(nesting.mask(codes, (k,)), probabilities[first + k])
        for k, name in enumerate(labels.names)
    }
    found = codes > 0

    def mean(values: NDArray[np.float32] | None) -> float:
        return float(values[found].mean(dtype=np.float64)) if values is not None and found.any() else math.nan

    return ReviewLine(case, dice, mean(entropy), mean(spread))


def predicted_dice(mask: NDArray[np.bool_], probability: NDArray[np.float32]) -> float:
    """The expected soft Dice of a mask; not a number where nothing is predicted and nothing expected."""
    size, expected = int(np.count_nonzero(mask)), float(probability.sum(dtype=np.float64))
    if size == 0 and expected < _EMPTY:
        return math.nan
    return 2 * float(probability[mask].sum(dtype=np.float64)) / (size + expected)


def write_review(path: Path, lines: Iterable[ReviewLine], names: Sequence[str]) -> None:
    """Writes the list atomically, the lowest predicted Dice first."""
    columns = ["rank", "case", PREDICTED, *(f"{PREDICTED} {name}" for name in names), UNSURE, SPREAD]
    ordered = sorted(lines, key=lambda line: (line.predicted, line.case))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(columns)
        for rank, line in enumerate(ordered, start=1):
            values = [line.predicted, *(line.dice[name] for name in names), line.entropy, line.spread]
            writer.writerow([rank, line.case, *(_number(value) for value in values)])


def read_review(path: Path, names: Sequence[str]) -> dict[str, ReviewLine]:
    """Case id -> its line; nothing where there is no list yet.

    Raises:
        UserError: the file is no such list.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as source:
            return {
                row["case"]: ReviewLine(
                    row["case"],
                    {name: _value(row[f"{PREDICTED} {name}"]) for name in names},
                    _value(row[UNSURE]),
                    _value(row[SPREAD]),
                )
                for row in csv.DictReader(source)
            }
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(str(path), f"is no list of cases to review ({error})", "move it away") from None


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def _value(text: str) -> float:
    return float(text) if text else math.nan
