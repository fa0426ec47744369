"""Which patients a model has seen, without carrying their ids."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SeenPatients:
    """The SHA-256 of each patient's id after a salt that is drawn for each bundle.

    The salt keeps two bundles from being linked and tables of hashes from being used. It does not hide
    ids that can be guessed one by one, such as small numbers.
    """

    salt: str
    hashes: frozenset[str]

    @classmethod
    def of(cls, patients: Iterable[str]) -> SeenPatients:
        """Hashes ids under a new salt."""
        salt = secrets.token_hex(16)
        return cls(salt, frozenset(_digest(salt, patient) for patient in patients))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"salt": self.salt, "hashes": sorted(self.hashes)}

    def __contains__(self, patient: object) -> bool:
        return isinstance(patient, str) and _digest(self.salt, patient) in self.hashes


def _digest(salt: str, patient: str) -> str:
    return hashlib.sha256(f"{salt}\0{patient}".encode()).hexdigest()
