"""How well the list of cases to review finds the bad ones, where there are references to tell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import UserError
from medseg.evaluation.cases import Row
from medseg.files import write_json
from medseg.inference.review import REVIEW, read_review

FILE = "review.json"
QUARTER = 4
FEWEST = 8
"""Cases: fewer have no quarter to speak of."""


def note_review(run: Path, part: str, predictions: Path, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Adds ``part`` to ``review.json`` in the run's folder; the report shows it.

    Args:
        run: the run's folder.
        part: the name of the set of cases.
        predictions: where ``review.csv`` is.
        rows: the scores of these cases.
        names: of the labels.
    """
    lines = read_review(predictions / REVIEW, names)
    predicted = {case: line.predicted for case, line in lines.items()}
    path = run / FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise UserError(str(path), f"is not JSON ({error})", "remove it") from None
    write_json(path, known | {part: review_quality(predicted, case_dice(rows))})


def case_dice(rows: Sequence[Row]) -> dict[str, float]:
    """Case id -> mean Dice over its labels; those that are not a number are left out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.metric == "dice" and row.status != "nan":
            found.setdefault(row.case, []).append(row.value)
    return {case: math.fsum(values) / len(values) for case, values in found.items()}


def review_quality(predicted: Mapping[str, float], dice: Mapping[str, float]) -> dict[str, Any]:
    """How the order of predicted Dice goes with that of the real one.

    The bad cases are the quarter with the lowest Dice (rounded up).

    Args:
        predicted: case id -> predicted Dice.
        dice: case id -> real Dice.

    Returns:
        ``n``, ``bad``; ``spearman`` (rank correlation), ``auroc`` (of telling a bad case from a good one),
        ``found`` (share of the bad ones among as many reviewed first) and ``found_by_chance``; ``error``
        (mean of
        predicted minus real Dice); ``points``: per case predicted and real Dice, the most doubtful first.
        Numbers that cannot be given are ``None``: fewer than `FEWEST` cases, or all alike.
    """
    cases = sorted(predicted.keys() & dice.keys(), key=lambda case: (predicted[case], case))
    guess, truth = (np.array([values[case] for case in cases]) for values in (predicted, dice))
    points = [
        {"case": case, "predicted": round(float(g), 6), "dice": round(float(t), 6)}
        for case, g, t in zip(cases, guess, truth, strict=True)
    ]
    bad = -(-len(cases) // QUARTER)
    chance = bad / len(cases) if cases else None
    told: dict[str, Any] = {"n": len(cases), "bad": bad, "found_by_chance": chance}
    told |= dict.fromkeys(("spearman", "auroc", "found"))
    told["error"] = float((guess - truth).mean()) if cases else None
    if len(cases) >= FEWEST and np.ptp(guess) > 0 and np.ptp(truth) > 0:
        worst = np.argsort(truth, kind="stable")[:bad]
        told["spearman"] = _spearman(guess, truth)
        told["auroc"] = _auroc(guess, worst)
        told["found"] = float(np.mean(worst < bad))
    return told | {"points": points}


def _spearman(one: Any, other: Any) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def _auroc(guess: Any, worst: Any) -> float:
    """The chance that a bad case is predicted to be worse than a good one; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata(-guess)
    n, rest = len(worst), len(guess) - len(worst)
    return float((ranks[worst].sum() - n * (n + 1) / 2) / (n * rest))
