"""How well the raters of a cohort agree: the line that a method may be held against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medseg.evaluation.cases import Row
from medseg.evaluation.folder import spacing_of
from medseg.evaluation.score import score_case
from medseg.evaluation.settings import EvaluationSettings

if TYPE_CHECKING:
    from medseg.data.cohort import Case, Cohort
    from medseg.data.formats import Volume


def rater_rows(cohort: Cohort, cases: Sequence[Case], settings: EvaluationSettings) -> list[Row]:
    """The agreement of the raters of each case that has several, scored as a prediction is.

    Where the reference is one rater's label, every other rater is held against it; where it is their
    majority, every pair of raters is held against one another. A case's value is the mean over those.
    """
    from medseg.data.cohort import read_raters

    rows = []
    for case in cases:
        if len(case.raters) < 2:
            continue
        opinions = read_raters(case, cohort.labels)
        scored = [
            score_case(
                reference.array,
                other.array,
                cohort.labels,
                spacing_of(reference.affine),
                settings,
                case=case.id,
                patient=case.patient,
                centre=case.centre,
                part="raters",
            )
            for reference, other in _pairs(case, opinions)
        ]
        rows += [_mean(same) for same in zip(*scored, strict=True)]
    return rows


def _pairs(case: Case, opinions: dict[str, Volume]) -> Iterator[tuple[Volume, Volume]]:
    reference = next((name for name, path in case.raters.items() if path == case.label), None)
    if reference is None:
        yield from itertools.combinations(opinions.values(), 2)
    else:
        yield from ((opinions[reference], opinions[name]) for name in opinions if name != reference)


def _mean(rows: Sequence[Row]) -> Row:
    """Over the pairs that give a number; missed where any pair missed."""
    known = [row for row in rows if row.status != "nan"]
    if not known:
        return rows[0]
    missed = any(row.status == "missed" for row in known)
    mean = math.fsum(row.value for row in known) / len(known)
    return replace(known[0], value=mean, status="missed" if missed else "ok")
