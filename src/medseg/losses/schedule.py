"""Weights that change while training goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from medseg.errors import UserError

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "cosine": lambda x: (1 - math.cos(math.pi * x)) / 2,
    "step": lambda x: float(x >= 1),
}
"""Name -> how much of the way is gone after a share of the time."""

KEYS = ("shape", "from", "to", "begin", "end")


class WeightSchedule:
    """A weight that goes from one value to another while training goes from one share to another.

    It stays what it was before ``begin`` and after ``end``; ``step`` jumps at ``end``.

    Args:
        weight: a number, for one that stays, or ``{shape: linear | cosine | step, from: 0.0, to: 1.0, begin:
            0.0, end: 1.0}`` with the two last as shares of training.
        where: the field that errors name.

    Raises:
        UserError: a negative or endless weight, an unknown key or shape, or shares that are none.
    """

    def __init__(self, weight: float | Mapping[str, float | str], where: str) -> None:
        options: Mapping[str, float | str]
        options = weight if isinstance(weight, Mapping) else {"shape": "step", "from": weight, "to": weight}
        fix = f"give a number or {', '.join(KEYS)} with numbers >= 0"
        if unknown := [key for key in options if key not in KEYS]:
            raise UserError(where, f"there is no {unknown[0]!r} in a schedule", fix)
        if missing := [key for key in KEYS[:3] if key not in options]:
            raise UserError(where, f"the schedule lacks {missing[0]!r}", fix)
        shape = str(options["shape"])
        if shape not in SHAPES:
            raise UserError(where, f"there is no shape {shape!r}", f"use {', '.join(SHAPES)}")
        self._shape = SHAPES[shape]
        self.start, self.stop = (_number(options[key], f"{where}.{key}", fix) for key in ("from", "to"))
        self.begin, self.end = (
            _number(options.get(key, default), f"{where}.{key}", fix)
            for key, default in (("begin", 0.0), ("end", 1.0))
        )
        if not self.begin < self.end <= 1:
            problem = f"begin {self.begin:g} and end {self.end:g} are no part of training"
            raise UserError(where, problem, "give shares with 0 <= begin < end <= 1")

    def at(self, share: float) -> float:
        """The weight after a share of training, in [0, 1]."""
        gone = min(max((share - self.begin) / (self.end - self.begin), 0.0), 1.0)
        way = self._shape(gone)
        return (1 - way) * self.start + way * self.stop


def _number(value: float | str, where: str, fix: str) -> float:
    if isinstance(value, bool | str) or not 0 <= value < math.inf:
        raise UserError(where, f"{value!r} is not a number >= 0", fix)
    return float(value)
