"""A share of many cases, for one of several processes or machines that do not speak to each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from medseg.errors import UserError


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_Case = TypeVar("_Case", bound=_HasId)


@dataclass(frozen=True)
class Shard:
    """Share ``number``, from 0, of ``of``.

    Which share a case is in depends on its id alone, so that it stays there whatever else is added.
    """

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Shard:
        """From ``2/8``: the third of eight shares.

        Raises:
            UserError: it is none.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or int(match[1]) >= int(match[2]):
            fix = "write I/N with I from 0 to N-1, as 0/4, 1/4, 2/4, 3/4"
            raise UserError("shard", f"{text!r} names no share", fix)
        return cls(int(match[1]), int(match[2]))

    def takes(self, case_id: str) -> bool:
        """Whether the case is in this share."""
        digest = hashlib.sha256(case_id.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number

    def among(self, cases: Sequence[_Case]) -> list[_Case]:
        """Those of the cases that are in this share, in their order."""
        return [case for case in cases if self.takes(case.id)]
