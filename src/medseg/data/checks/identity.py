"""Ids that occur twice, ids that differ by case alone, and the same image under two ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medseg.data.checks.case import CaseFacts
from medseg.data.checks.finding import Finding, Severity, named
from medseg.data.cohort import Case
from medseg.data.splits import Split


def id_findings(root: Path, cases: Sequence[Case]) -> Iterator[Finding]:
    """Duplicate and case-colliding ids."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(case.id.casefold(), []).append(case.id)
    for ids in groups.values():
        distinct = sorted(set(ids))
        for case_id in distinct:
            if (count := ids.count(case_id)) > 1:
                problem = f"{case_id} is the id of {count} cases"
                fix = "give every case an id of its own"
                yield Finding(str(root), "id", problem, fix, "error", "duplicate-id", (case_id,))
        if len(distinct) > 1:
            problem = f"{', '.join(distinct)} differ by capital letters alone"
            fix = "rename one: on macOS and Windows their files overwrite each other"
            yield Finding(str(root), "id", problem, fix, "error", "colliding-id", tuple(distinct))


def twin_findings(
    cases: Sequence[Case], facts: Sequence[CaseFacts], split: Split | None
) -> Iterator[Finding]:
    """Images with the same voxels under two ids, or under two modalities of one case.

    Twins are an error where they may be trained on and scored on. They are a warning where they cannot:
    they have one patient, or the split keeps them in one part.
    """
    owners: dict[str, list[tuple[Case, str]]] = {}
    for case, known in zip(cases, facts, strict=True):
        for modality, digest in known.hashes.items():
            owners.setdefault(digest, []).append((case, modality))
    told: set[tuple[str, ...]] = set()
    for group in owners.values():
        ids = tuple(sorted({case.id for case, _ in group}))
        if len(ids) > 1 and ids not in told:
            told.add(ids)
            yield _twins(group, ids, split)
        elif len(ids) == 1 and len(modalities := sorted({modality for _, modality in group})) > 1:
            yield _copies(group[0][0], modalities)


def _twins(group: Sequence[tuple[Case, str]], ids: tuple[str, ...], split: Split | None) -> Finding:
    first, modality = group[0]
    second, other = next((case, name) for case, name in group if case.id != first.id)
    patients = sorted({case.patient for case, _ in group})
    parts = set(patients) if split is None else {split.patients.get(patient) for patient in patients}
    problem = f"{named(ids)} show the same voxels (here and in {second.images[other]})"
    if len(patients) > 1:
        problem += f", yet are of {len(patients)} patients"
    fix = "keep one of them, or give them one patient, so that no fold trains on what it is scored on"
    severity: Severity = "error" if len(parts) > 1 else "warning"
    file = str(first.images[modality])
    return Finding(file, "voxels", problem, fix, severity, "identical-images", ids)


def _copies(case: Case, modalities: Sequence[str]) -> Finding:
    problem = f"{' and '.join(modalities)} show the same voxels"
    fix = "check which file is which, or leave one modality out"
    file = str(case.images[modalities[0]])
    return Finding(file, "voxels", problem, fix, "warning", "identical-modalities", (case.id,))
