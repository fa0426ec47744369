"""What is not there: modalities, images, foreground, classes. One line each, with a count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medseg.data.checks.case import CaseFacts
from medseg.data.checks.finding import Finding, named
from medseg.data.cohort import Cohort


def absence_findings(cohort: Cohort, facts: Sequence[CaseFacts]) -> Iterator[Finding]:
    """Cases without images, missing modalities, empty labels, and classes that never occur."""
    root = str(cohort.root)
    for case in cohort.cases:
        if not case.images:
            where = str(next(iter(case.files), root))
            fix = "add an image, or leave the case out"
            yield Finding(where, "images", f"case {case.id} has none", fix, "error", "no-image", (case.id,))
    yield from _modalities(cohort)
    if empty := [known.id for known in facts if known.empty]:
        problem = f"no foreground in {_of(len(empty), cohort)} ({named(empty)})"
        fix = "allowed; metrics count them apart"
        yield Finding(root, "labels", problem, fix, "info", "empty-label", tuple(empty))
    seen = [known.volumes for known in facts if known.volumes]
    for name in cohort.labels.names:
        if seen and not any(volumes.get(name) for volumes in seen):
            problem = f"{name} occurs in none of the {len(seen)} labels that were read"
            fix = "correct data.labels, or add cases that show it"
            yield Finding(root, f"label {name}", problem, fix, "warning", "absent-class")


def _modalities(cohort: Cohort) -> Iterator[Finding]:
    for modality in cohort.modalities:
        lacking = tuple(case.id for case in cohort.cases if case.images and modality not in case.images)
        if lacking:
            problem = f"missing in {_of(len(lacking), cohort)} ({named(lacking)})"
            fix = "add the files, or train on zeros in their place"
            field = f"modality {modality}"
            yield Finding(str(cohort.root), field, problem, fix, "warning", "missing-modality", lacking)


def _of(count: int, cohort: Cohort) -> str:
    return f"{count} of {len(cohort.cases)} cases"
