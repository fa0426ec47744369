"""Patients that the folds tear apart, and a split that does not belong to the cohort."""

from __future__ import annotations

from collections.abc import Iterator

from medseg.data.checks.finding import Finding
from medseg.data.cohort import Cohort
from medseg.data.splits import UNLABELLED, Split
from medseg.errors import Problems

_FIX = "give all cases of a patient one fold"


def patient_findings(cohort: Cohort, split: Split | None) -> Iterator[Finding]:
    """A patient in two folds, by the cohort's own folds or by the split."""
    yield from _given(cohort)
    if split is not None:
        yield from _spelt_twice(cohort, split)
        yield from _strangers(cohort, split)


def _given(cohort: Cohort) -> Iterator[Finding]:
    """Folds that came with the data; ids that differ by capitals or blanks are taken for one patient."""
    folds: dict[str, dict[int, str]] = {}
    cases: dict[str, list[str]] = {}
    for case in cohort.cases:
        if case.fold is not None:
            folds.setdefault(_key(case.patient), {}).setdefault(case.fold, case.id)
            cases.setdefault(_key(case.patient), []).append(case.id)
    names = {_key(case.patient): case.patient for case in cohort.cases}
    for key, found in folds.items():
        if len(found) > 1:
            where = " and ".join(f"{fold} ({case})" for fold, case in sorted(found.items()))
            problem = f"patient {names[key]} is in folds {where}"
            yield Finding(str(cohort.root), "fold", problem, _FIX, "error", "patient-folds", (*cases[key],))


def _spelt_twice(cohort: Cohort, split: Split) -> Iterator[Finding]:
    parts: dict[str, dict[str, int | str]] = {}
    for patient, part in split.patients.items():
        if part != UNLABELLED:
            parts.setdefault(_key(patient), {})[patient] = part
    for found in parts.values():
        if len(found) > 1 and len(set(found.values())) > 1:
            where = " and ".join(f"{part} (as {patient})" for patient, part in found.items())
            problem = f"one patient is in folds {where}"
            cases = tuple(case.id for case in cohort.cases if case.patient in found)
            fix = "spell a patient's id in one way"
            yield Finding(str(cohort.root), "patient", problem, fix, "error", "patient-folds", cases)


def _strangers(cohort: Cohort, split: Split) -> Iterator[Finding]:
    try:
        split.validate(cohort)
    except Problems as problems:
        for line in problems.lines:
            problem, _, fix = line.removeprefix("split: ").partition("; ")
            yield Finding(str(cohort.root), "split", problem, fix, "error", "split", ())


def _key(patient: str) -> str:
    return patient.strip().casefold()
