"""A short list of numbers that an option gives, spread over the levels of a network."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.errors import UserError


def spread(numbers: Sequence[int], levels: int, where: str) -> tuple[int, ...]:
    """One number per level, finest first; the last one given also counts for deeper levels.

    Args:
        numbers: as many as an option gives; those beyond ``levels`` are not needed.
        levels: how many levels there are.
        where: the option's name.

    Raises:
        UserError: for no number at all, or one below 1.
    """
    if not numbers or min(numbers) < 1:
        raise UserError(where, f"{list(numbers)} leaves a level without any", "give numbers from 1")
    return tuple(numbers[min(level, len(numbers) - 1)] for level in range(levels))
