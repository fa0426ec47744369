"""What a cohort looks like: counts, grids and class volumes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from medseg.data.checks.case import CaseFacts
from medseg.data.cohort import Cohort

Spread = tuple[float, float, float]
"""Smallest, median, largest."""


@dataclass(frozen=True)
class ClassVolume:
    """How often and how large a class or region is.

    Attributes:
        name: of the class.
        cases: labelled cases in which it occurs.
        ml: smallest, median and largest volume where it occurs; ``None`` where it never does.
    """

    name: str
    cases: int
    ml: Spread | None


@dataclass(frozen=True)
class CohortSummary:
    """The numbers of a cohort.

    Attributes:
        cases: how many.
        labelled: of them with a reference.
        patients: how many.
        centres: centre -> cases; empty where centres are not known.
        modalities: modality -> cases that have it.
        shape: voxels per axis; ``None`` where no image could be read.
        spacing: mm per axis.
        classes: their volumes in the labels that could be read.
        empty: labelled cases without foreground.
        raters: the most experts that labelled one case.
    """

    cases: int
    labelled: int
    patients: int
    centres: dict[str, int]
    modalities: dict[str, int]
    shape: tuple[Spread, ...] | None
    spacing: tuple[Spread, ...] | None
    classes: tuple[ClassVolume, ...]
    empty: int
    raters: int

    @property
    def unlabelled(self) -> int:
        """Cases without a reference."""
        return self.cases - self.labelled


def summarise(cohort: Cohort, facts: Sequence[CaseFacts]) -> CohortSummary:
    """The numbers of a cohort from one pass over its cases."""
    cases = cohort.cases
    return CohortSummary(
        cases=len(cases),
        labelled=sum(case.labelled for case in cases),
        patients=len({case.patient for case in cases}),
        centres=dict(sorted(Counter(case.centre for case in cases if case.centre).items())),
        modalities={name: sum(name in case.images for case in cases) for name in cohort.modalities},
        shape=_spreads([known.shape for known in facts if known.shape]),
        spacing=_spreads([known.spacing for known in facts if known.spacing]),
        classes=tuple(_class(name, facts) for name in cohort.labels.names),
        empty=sum(bool(known.empty) for known in facts),
        raters=max((len(case.raters) for case in cases), default=0),
    )


def _class(name: str, facts: Sequence[CaseFacts]) -> ClassVolume:
    sizes = [known.volumes[name] for known in facts if known.volumes.get(name)]
    return ClassVolume(name, len(sizes), spread(sizes) if sizes else None)


def _spreads(rows: Sequence[Sequence[float]]) -> tuple[Spread, ...] | None:
    return tuple(spread(column) for column in zip(*rows, strict=True)) if rows else None


def spread(values: Sequence[float]) -> Spread:
    """Smallest, median and largest of the finite values."""
    sound = [float(value) for value in values if math.isfinite(value)] or [math.nan]
    return min(sound), float(median(sound)), max(sound)
