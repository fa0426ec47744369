"""Who is trained on, validated on and tested on: patients, never cases, are assigned."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.errors import Problems, UserError
from medseg.files import value_hash, write_json

if TYPE_CHECKING:
    from medseg.data.cohort import Case, Cohort
    from medseg.data.settings import SplitSettings

Part = Literal["train", "validation", "test"]
FORMAT = 1
TEST = "test"
UNLABELLED = "unlabelled"
"""The part of a patient without any reference label: always trained on, without one."""


@dataclass(frozen=True)
class Split:
    """Which part each patient belongs to.

    Attributes:
        seed: what the patients were dealt with.
        folds: number of folds.
        patients: patient -> number of the fold it validates, ``"test"`` or ``"unlabelled"``.
    """

    seed: int
    folds: int
    patients: Mapping[str, int | str]

    @property
    def hash(self) -> str:
        """The SHA-256 of the content; two runs may be compared only where it is equal."""
        return value_hash(self._content())

    def _content(self) -> dict[str, Any]:
        patients = dict(sorted(self.patients.items()))
        return {"format": FORMAT, "seed": self.seed, "folds": self.folds, "patients": patients}

    def save(self, path: Path) -> None:
        """Writes the split and its hash as JSON."""
        write_json(path, {**self._content(), "hash": self.hash})

    @classmethod
    def load(cls, path: Path) -> Split:
        """Reads a split.

        Raises:
            UserError: the file is not a split, or is not what was written.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(
                str(path), f"cannot be read ({error.strerror})", "give the path of a split"
            ) from None
        except ValueError as error:
            raise UserError(str(path), f"is not JSON ({error})", "make the split again") from None
        if not _well_formed(found):
            raise UserError(str(path), f"is not a split of format {FORMAT}", "make the split again")
        stated = found.pop("hash", None)
        if value_hash(found) != stated:
            raise UserError(
                str(path), "its content does not match its hash", "it was edited: make a new split instead"
            )
        split = cls(found["seed"], found["folds"], found["patients"])
        if problems := split.problems():
            raise Problems(f"{path}: {problem}" for problem in problems)
        return split

    def problems(self) -> list[str]:
        """What is wrong with the split itself, one line each."""
        legal = {TEST, UNLABELLED, *range(self.folds)}
        return [
            f"patients.{patient}: {part!r} is no fold below {self.folds}, '{TEST}' or '{UNLABELLED}'"
            for patient, part in self.patients.items()
            if isinstance(part, bool) or part not in legal
        ]

    def validate(self, cohort: Cohort) -> None:
        """Raises `Problems` unless exactly the patients of ``cohort`` are assigned."""
        there = {case.patient for case in cohort.cases}
        problems = [
            f"split: patient {patient} of the cohort is not in it; make a new split"
            for patient in sorted(there - set(self.patients))
        ]
        problems += [
            f"split: patient {patient} is not in cohort {cohort.name}; it belongs to another cohort"
            for patient in sorted(set(self.patients) - there)
        ]
        problems += [
            f"split: case {case.id} has a label, its patient {case.patient} had none; make a new split"
            for case in cohort.cases
            if case.labelled and self.patients.get(case.patient) == UNLABELLED
        ]
        if problems:
            raise Problems(problems)

    def cases(self, cohort: Cohort, fold: int, part: Part) -> tuple[Case, ...]:
        """The cases of one part, in the cohort's order.

        ``train`` also has the unlabelled cases of training patients and of patients without any label;
        ``validation`` has labelled cases only. ``test`` has all cases of test patients.

        Raises:
            UserError: there is no such fold, or the cohort has other patients.
        """
        self.validate(cohort)
        if not 0 <= fold < self.folds:
            raise UserError("fold", f"{fold} is not there", f"take 0 to {self.folds - 1}")
        return tuple(case for case in cohort.cases if self._part(case, fold) == part)

    def _part(self, case: Case, fold: int) -> Part | None:
        where = self.patients[case.patient]
        if where == TEST:
            return "test"
        if where == fold:
            # Its unlabelled cases may not be trained on either: they show the same patient.
            return "validation" if case.labelled else None
        return "train"

    @property
    def test_patients(self) -> tuple[str, ...]:
        """The patients nobody trains on."""
        return tuple(sorted(patient for patient, part in self.patients.items() if part == TEST))


def _well_formed(found: Any) -> bool:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return False
    numbers = isinstance(found.get("seed"), int) and isinstance(found.get("folds"), int)
    return numbers and isinstance(found.get("patients"), dict)


def cohort_for_training(cohort: Cohort, split: Split) -> Cohort:
    """The cohort without the labels of test patients, so that a training cannot read them."""
    hidden = set(split.test_patients)
    return cohort.without_labels([case.id for case in cohort.cases if case.patient in hidden])


def make_split(cohort: Cohort, settings: SplitSettings) -> Split:
    """Deals the patients of a cohort to folds, or reads ``settings.file``.

    Patients are shuffled within their centre and dealt so that folds differ by at most one patient, in
    each centre and in total. The folds a table gave are kept (below zero means test), for patients without
    a label too: whoever is held out is not trained on. The result depends on the patients, their centres
    and the seed, not on the order of the cases.

    Raises:
        UserError: a patient in two folds, or too few patients.
    """
    if settings.file is not None:
        split = Split.load(Path(settings.file))
        split.validate(cohort)
        return split
    labelled = sorted({case.patient for case in cohort.cases if case.labelled})
    given = _given_folds(cohort.cases)
    folds = _number_of_folds(given, labelled, settings.folds)
    parts: dict[str, int | str] = dict.fromkeys((case.patient for case in cohort.cases), UNLABELLED)
    parts |= {patient: TEST if fold < 0 else fold for patient, fold in given.items()}
    strata = _strata(cohort.cases, [p for p in labelled if p not in given], settings)
    # A table that says who is tested is not added to.
    share = 0.0 if TEST in parts.values() else settings.test_share
    for patient in _test_patients(strata, share):
        parts[patient] = TEST
    centres = _centres(cohort.cases) if settings.stratify_centre else {}
    # Only who has a label fills a fold.
    dealt = {patient: parts[patient] for patient in labelled if parts[patient] != UNLABELLED}
    _deal(dealt, strata, folds, centres)
    filled = [part for part in dealt.values() if part != TEST]
    if folds > 1 and len(set(filled)) < folds:
        raise UserError(
            "split.folds",
            f"{folds} folds cannot be filled by {len(filled)} patients",
            "take fewer folds, a smaller test share or more labelled patients",
        )
    return Split(settings.seed, folds, dict(sorted((parts | dealt).items())))


def _given_folds(cases: Iterable[Case]) -> dict[str, int]:
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


def _number_of_folds(given: Mapping[str, int], labelled: list[str], asked: int) -> int:
    highest = max(given.values(), default=-1)
    if labelled and all(patient in given for patient in labelled):
        return highest + 1 if highest >= 0 else 1
    if highest >= asked:
        raise UserError("split.folds", f"{asked}, but the table has fold {highest}", f"take {highest + 1}")
    return asked


def _centres(cases: Iterable[Case]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for case in cases:
        found.setdefault(case.patient, set()).add(case.centre or "")
    return {patient: "+".join(sorted(centres)) for patient, centres in found.items()}


def _strata(cases: Iterable[Case], patients: list[str], settings: SplitSettings) -> dict[str, list[str]]:
    """Centre -> its patients, shuffled; a centre's order does not depend on the other centres."""
    centre_of = _centres(cases) if settings.stratify_centre else {}
    strata: dict[str, list[str]] = {}
    for patient in patients:
        strata.setdefault(centre_of.get(patient, ""), []).append(patient)
    shuffled = {}
    for centre in sorted(strata):
        key = int(value_hash([settings.seed, centre])[:16], 16)
        order = np.random.Generator(np.random.Philox(key)).permutation(len(strata[centre]))
        shuffled[centre] = [sorted(strata[centre])[i] for i in order]
    return shuffled


def _test_patients(strata: dict[str, list[str]], share: float) -> list[str]:
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


def _deal(
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
