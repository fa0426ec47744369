"""Few labels on purpose: which training patients keep theirs, the fewer always among the more."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import Problems, UserError
from medseg.files import value_hash

ORDER_KEY = "labelled_order"
"""Where a JSON file of several lists has the order; SSL4MIS's lists for ACDC are written so."""


@dataclass(frozen=True)
class Budget:
    """The first patients of an order, among those that a fold trains on.

    Attributes:
        amount: how many; or which share of those in the order, in (0, 1); ``None``: all of the order.
        order: patients, the first to be labelled first. Who is not in it stays without a label.
    """

    amount: int | float | None
    order: tuple[str, ...]

    def chosen(self, training: Collection[str]) -> tuple[str, ...]:
        """The patients of a fold's training part that keep their labels.

        Raises:
            UserError: there are not so many.
        """
        among = [patient for patient in self.order if patient in training]
        if self.amount is None:
            wanted = len(among)
        elif isinstance(self.amount, float):
            wanted = max(1, round(self.amount * len(among)))
        else:
            wanted = self.amount
        if wanted > len(among) or not among:
            problem = f"{wanted} patients are asked for, {len(among)} that may be labelled train in the fold"
            fix = f"give at most {len(among)}" if among else "give another split.labelled_file"
            raise UserError("split.labelled", problem, fix)
        return tuple(among[:wanted])

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"amount": self.amount, "order": list(self.order)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Budget:
        """What `to_dict` gave."""
        return cls(found["amount"], tuple(found["order"]))


def well_formed(found: object) -> bool:
    """Whether a file's ``labelled`` is a budget."""
    if not isinstance(found, Mapping) or found.keys() != {"amount", "order"}:
        return False
    order = found["order"]
    if not isinstance(order, list) or not all(isinstance(patient, str) for patient in order):
        return False
    return _is_amount(found["amount"]) and len(set(order)) == len(order)


def _is_amount(amount: object) -> bool:
    """A number of patients, a share of them, or nothing."""
    if isinstance(amount, float):
        return 0 < amount < 1
    return amount is None or (isinstance(amount, int) and not isinstance(amount, bool) and amount >= 1)


def seeded_order(patients: Iterable[str], seed: int, centre_of: Mapping[str, str]) -> tuple[str, ...]:
    """The patients shuffled, so that any first few of them have the centres' shares, as nearly as can be.

    Args:
        patients: in any order.
        seed: of the shuffle; a patient's place in his centre depends on no other centre.
        centre_of: patient -> centre; one that is not in it has the empty one.
    """
    keys = {patient: value_hash([seed, "labelled", patient]) for patient in patients}
    centres: dict[str, list[str]] = {}
    for patient in sorted(keys, key=lambda p: (keys[p], p)):
        centres.setdefault(centre_of.get(patient, ""), []).append(patient)
    places = {
        patient: (rank + 0.5) / len(members)
        for members in centres.values()
        for rank, patient in enumerate(members)
    }
    return tuple(sorted(keys, key=lambda p: (places[p], keys[p], p)))


def read_order(path: Path, labelled: Collection[str], everyone: Collection[str]) -> tuple[str, ...]:
    """The patients of a file, first to be labelled first.

    Args:
        path: a text with a patient a line (``#`` starts a comment), a JSON list, or a JSON object that has
            the list under ``labelled_order``.
        labelled: the patients of the cohort that have a label.
        everyone: all patients of the cohort.

    Raises:
        UserError: the file cannot be read, or names nobody.
        Problems: it names patients twice, or such as the cohort does not have or has no label of.
    """
    where = f"split.labelled_file {path}"
    order = _listed(_text(path), where)
    problems = [f"{where}: patient {p} is listed twice; keep one" for p in _repeated(order)]
    for patient in dict.fromkeys(order):
        if patient not in everyone:
            problems.append(f"{where}: patient {patient} is not in the cohort; take it out")
        elif patient not in labelled:
            problems.append(f"{where}: patient {patient} has no label; take it out")
    if problems:
        raise Problems(problems)
    if not order:
        raise UserError(where, "names no patient", "write one a line")
    return order


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        problem = f"cannot be read ({reason})"
        raise UserError(f"split.labelled_file {path}", problem, "give a text or JSON list") from None


def _listed(text: str, where: str) -> tuple[str, ...]:
    if text.lstrip()[:1] not in ("[", "{"):
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        return tuple(line for line in lines if line)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(where, f"is not JSON ({error})", "mend it") from None
    order = found.get(ORDER_KEY) if isinstance(found, dict) else found
    if not isinstance(order, list) or not all(isinstance(patient, str) for patient in order):
        raise UserError(where, "has no list of patients", f"give a list, or one under {ORDER_KEY!r}")
    return tuple(order)


def _repeated(order: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for patient in order:
        if patient in seen:
            twice[patient] = None
        seen.add(patient)
    return list(twice)
