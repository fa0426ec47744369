"""Who is trained on, validated on and tested on: patients, never cases, are assigned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medseg.data.dealing import (
    centres_of,
    deal,
    given_folds,
    number_of_folds,
    shuffled_strata,
    take_test_patients,
)
from medseg.data.label_budget import Budget, read_order, seeded_order, well_formed
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
        budget: which training patients keep their labels; ``None``: all.
    """

    seed: int
    folds: int
    patients: Mapping[str, int | str]
    budget: Budget | None = None

    @property
    def hash(self) -> str:
        """The SHA-256 of the content; two runs may be compared only where it is equal."""
        return value_hash(self._content())

    def _content(self) -> dict[str, Any]:
        patients = dict(sorted(self.patients.items()))
        content = {"format": FORMAT, "seed": self.seed, "folds": self.folds, "patients": patients}
        return content if self.budget is None else {**content, "labelled": self.budget.to_dict()}

    def save(self, path: Path) -> None:
        """Writes the split and its hash as JSON."""
        write_json(path, {**self._content(), "hash": self.hash})

    @classmethod
    def load(cls, path: Path) -> Split:
        """Reads a split, or a plain file of names: JSON lists ``train``, ``val`` and perhaps ``test``.

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
        if isinstance(found, dict) and isinstance(found.get("train"), list):
            return _lists(path, found)
        if not _well_formed(found):
            raise UserError(str(path), f"is not a split of format {FORMAT}", "make the split again")
        stated = found.pop("hash", None)
        if value_hash(found) != stated:
            raise UserError(
                str(path), "its content does not match its hash", "it was edited: make a new split instead"
            )
        budget = Budget.from_dict(found["labelled"]) if "labelled" in found else None
        split = cls(found["seed"], found["folds"], found["patients"], budget)
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
        ] + [
            f"labelled.order: patient {patient} is in no part"
            for patient in (self.budget.order if self.budget else ())
            if patient not in self.patients
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

        ``train`` also has the unlabelled cases of training patients and of patients without any label; the
        cases of training patients beyond the budget are there without theirs. ``validation`` has labelled
        cases only. ``test`` has all cases of test patients.

        Raises:
            UserError: there is no such fold, or the cohort has other patients, or too few for the budget.
        """
        self.validate(cohort)
        if not 0 <= fold < self.folds:
            raise UserError("fold", f"{fold} is not there", f"take 0 to {self.folds - 1}")
        seen = self.blind(cohort, fold) if part == "train" else cohort
        return tuple(case for case in seen.cases if self._part(case, fold) == part)

    def blind(self, cohort: Cohort, fold: int) -> Cohort:
        """The cohort without the labels of the fold's training patients beyond the budget."""
        if self.budget is None:
            return cohort
        training = self._training(fold)
        hidden = training - set(self.budget.chosen(training))
        return cohort.without_labels([case.id for case in cohort.cases if case.patient in hidden])

    def _training(self, fold: int) -> set[str]:
        elsewhere = (TEST, UNLABELLED, fold)
        return {patient for patient, part in self.patients.items() if part not in elsewhere}

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
    budget = "labelled" not in found or well_formed(found["labelled"])
    return numbers and isinstance(found.get("patients"), dict) and budget


def _lists(path: Path, found: Any) -> Split:
    """Fold 0 of the split trains on the names in ``train`` and validates on those in ``val``."""
    parts: dict[str, int | str] = {}
    for name, part in (("train", 1), ("val", 0), ("test", TEST)):
        names = found.get(name, [])
        for patient in names if isinstance(names, list) else [names]:
            if not isinstance(patient, str) or patient in parts:
                problem = f"{name} has {patient!r}, which is no text or in a list already"
                raise UserError(str(path), problem, "give lists of patients, each named once")
            parts[patient] = part
    return Split(0, 2, dict(sorted(parts.items())))


def cohort_for_training(cohort: Cohort, split: Split) -> Cohort:
    """The cohort without the labels of test patients, so that a training cannot read them."""
    hidden = set(split.test_patients)
    return cohort.without_labels([case.id for case in cohort.cases if case.patient in hidden])


def make_split(cohort: Cohort, settings: SplitSettings) -> Split:
    """Deals the patients of a cohort to folds, or reads ``settings.file``; then draws who keeps his labels.

    Patients are shuffled within their centre and dealt so that folds differ by at most one patient, in
    each centre and in total. The folds a table gave are kept (below zero means test), for patients without
    a label too: whoever is held out is not trained on. The result depends on the patients, their centres
    and the seed, not on the order of the cases.

    Raises:
        UserError: a patient in two folds, or too few patients, for the folds or for the label budget.
    """
    split = _dealt(cohort, settings) if settings.file is None else Split.load(Path(settings.file))
    split.validate(cohort)
    if settings.labelled is None and settings.labelled_file is None:
        return split
    return replace(split, budget=_budget(cohort, split, settings))


def _budget(cohort: Cohort, split: Split, settings: SplitSettings) -> Budget:
    """Raises `UserError` where no fold has as many training patients with a label as are asked for."""
    labelled = {case.patient for case in cohort.cases if case.labelled}
    if settings.labelled_file is not None:
        order = read_order(Path(settings.labelled_file), labelled, split.patients)
    else:
        centres = centres_of(cohort.cases) if settings.stratify_centre else {}
        order = seeded_order(labelled - set(split.test_patients), settings.seed, centres)
    budget = Budget(settings.labelled, order)
    there = [patient for patient in order if split.patients[patient] != TEST]
    largest = max(range(split.folds), key=lambda fold: sum(split.patients[p] != fold for p in there))
    budget.chosen(split._training(largest))
    return budget


def _dealt(cohort: Cohort, settings: SplitSettings) -> Split:
    labelled = sorted({case.patient for case in cohort.cases if case.labelled})
    given = given_folds(cohort.cases)
    folds = number_of_folds(given, labelled, settings.folds)
    parts: dict[str, int | str] = dict.fromkeys((case.patient for case in cohort.cases), UNLABELLED)
    parts |= {patient: TEST if fold < 0 else fold for patient, fold in given.items()}
    strata = shuffled_strata(cohort.cases, [p for p in labelled if p not in given], settings)
    # A table that says who is tested is not added to.
    share = 0.0 if TEST in parts.values() else settings.test_share
    for patient in take_test_patients(strata, share):
        parts[patient] = TEST
    centres = centres_of(cohort.cases) if settings.stratify_centre else {}
    # Only who has a label fills a fold.
    dealt = {patient: parts[patient] for patient in labelled if parts[patient] != UNLABELLED}
    deal(dealt, strata, folds, centres)
    filled = [part for part in dealt.values() if part != TEST]
    # Where nobody has a label, all are trained on: a pretraining needs none.
    if labelled and folds > 1 and len(set(filled)) < folds:
        raise UserError(
            "split.folds",
            f"{folds} folds cannot be filled by {len(filled)} patients",
            "take fewer folds, a smaller test share or more labelled patients",
        )
    return Split(settings.seed, folds, dict(sorted((parts | dealt).items())))
