"""How patients are dealt to folds and kept for the test: balanced within each centre and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from medseg.errors import Problems, UserError
from medseg.files import value_hash

if TYPE_CHECKING:
    from medseg.data.cohort import Case
    from medseg.data.settings import SplitSettings


def given_folds(cases: Iterable[Case]) -> dict[str, int]:
    """Patient -> the fold that came with the data; raises `Problems` where a patient has two."""
    given: dict[str, int] = {}
    problems = []
    for case in cases:
        if case.fold is None:
            continue
        if given.setdefault(case.patient, case.fold) != case.fold:
            problems.append(
                f"fold: patient {case.patient} is in folds {given[case.patient]} and {case.fold}; give one"
            )
    if problems:
        raise Problems(problems)
    return given


def number_of_folds(given: Mapping[str, int], labelled: list[str], asked: int) -> int:
    """Those of the table where it has a fold for every labelled patient, else as many as are asked for."""
    highest = max(given.values(), default=-1)
    if labelled and all(patient in given for patient in labelled):
        return highest + 1 if highest >= 0 else 1
    if highest >= asked:
        raise UserError("split.folds", f"{asked}, but the table has fold {highest}", f"take {highest + 1}")
    return asked


def centres_of(cases: Iterable[Case]) -> dict[str, str]:
    """Patient -> his centre, ``""`` where none is known, several joined."""
    found: dict[str, set[str]] = {}
    for case in cases:
        found.setdefault(case.patient, set()).add(case.centre or "")
    return {patient: "+".join(sorted(centres)) for patient, centres in found.items()}


def shuffled_strata(
    cases: Iterable[Case], patients: list[str], settings: SplitSettings
) -> dict[str, list[str]]:
    """Centre -> its patients, shuffled; a centre's order does not depend on the other centres."""
    centre_of = centres_of(cases) if settings.stratify_centre else {}
    strata: dict[str, list[str]] = {}
    for patient in patients:
        strata.setdefault(centre_of.get(patient, ""), []).append(patient)
    shuffled = {}
    for centre in sorted(strata):
        key = int(value_hash([settings.seed, centre])[:16], 16)
        order = np.random.Generator(np.random.Philox(key)).permutation(len(strata[centre]))
        shuffled[centre] = [sorted(strata[centre])[i] for i in order]
    return shuffled


def take_test_patients(strata: dict[str, list[str]], share: float) -> list[str]:
    """Takes the test patients out of the strata, each centre by its share (largest remainders)."""
    total = sum(map(len, strata.values()))
    wanted = round(share * total)
    if share > 0 and total:
        wanted = min(max(wanted, 1), total)
    quota = {centre: wanted * len(patients) / max(total, 1) for centre, patients in strata.items()}
    counts = {centre: int(q) for centre, q in quota.items()}
    by_remainder = sorted(strata, key=lambda centre: (counts[centre] - quota[centre], centre))
    for centre in by_remainder[: wanted - sum(counts.values())]:
        counts[centre] += 1
    taken = [p for centre, patients in strata.items() for p in patients[: counts[centre]]]
    for centre in strata:
        strata[centre] = strata[centre][counts[centre] :]
    return taken


def deal(
    parts: dict[str, int | str], strata: dict[str, list[str]], folds: int, centre_of: Mapping[str, str]
) -> None:
    """Each patient to the fold that has fewest of its centre, then fewest of all."""
    total = Counter(part for part in parts.values() if isinstance(part, int))
    in_centre = Counter((centre_of.get(p, ""), part) for p, part in parts.items() if isinstance(part, int))
    for centre, patients in strata.items():
        for patient in patients:
            fold = min(range(folds), key=lambda f: (in_centre[centre, f], total[f], f))
            parts[patient] = fold
            total[fold] += 1
            in_centre[centre, fold] += 1
