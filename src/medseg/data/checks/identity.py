"""Ids that occur twice, ids that differ by case alone, and the same image under two ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from medseg.data.checks.case import CaseFacts
from medseg.data.checks.finding import Finding, named
from medseg.data.cohort import Case


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


def twin_findings(cases: Sequence[Case], facts: Sequence[CaseFacts]) -> Iterator[Finding]:
    """Images with the same voxels under two ids, or under two modalities of one case."""
    owners: dict[str, list[tuple[Case, str]]] = {}
    for case, known in zip(cases, facts, strict=True):
        for modality, digest in known.hashes.items():
            owners.setdefault(digest, []).append((case, modality))
    told: set[tuple[str, ...]] = set()
    for group in owners.values():
        ids = tuple(sorted({case.id for case, _ in group}))
        if len(ids) > 1 and ids not in told:
            told.add(ids)
            yield _twins(group, ids)
        elif len(ids) == 1 and len(modalities := sorted({modality for _, modality in group})) > 1:
            yield _copies(group[0][0], modalities)


def _twins(group: Sequence[tuple[Case, str]], ids: tuple[str, ...]) -> Finding:
    first, modality = group[0]
    second = next(case for case, _ in group if case.id != first.id)
    patients = _patients(case for case, _ in group)
    leak = f", of {len(patients)} patients: it may be trained on and tested on" if len(patients) > 1 else ""
    problem = f"the same voxels as in {second.images.get(modality, first.images[modality])}"
    problem = f"{problem} (ids {named(ids)}{leak})"
    fix = "keep one of them"
    return Finding(str(first.images[modality]), "voxels", problem, fix, "error", "identical-images", ids)


def _copies(case: Case, modalities: Sequence[str]) -> Finding:
    problem = f"{' and '.join(modalities)} show the same voxels"
    fix = "check which file is which, or leave one modality out"
    file = str(case.images[modalities[0]])
    return Finding(file, "voxels", problem, fix, "warning", "identical-modalities", (case.id,))


def _patients(cases: Iterable[Case]) -> set[str]:
    return {case.patient for case in cases}
