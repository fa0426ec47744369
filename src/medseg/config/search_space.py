"""What a search may choose, from the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from medseg.errors import UserError


@dataclass(frozen=True)
class Space:
    """The words that all trials share, and what each of the other keys may be.

    Attributes:
        fixed: overrides.
        keys: key -> Optuna's distribution.
    """

    fixed: tuple[str, ...]
    keys: dict[str, Any]

    @property
    def told(self) -> dict[str, Any]:
        """As JSON, to know the same search again."""
        return {"fixed": sorted(self.fixed), "keys": {key: str(value) for key, value in self.keys.items()}}

    def words(self, params: dict[str, Any]) -> list[str]:
        """The overrides of a trial."""
        return [*self.fixed, *(f"{key}={value}" for key, value in params.items())]

    def corners(self) -> list[list[str]]:
        """Overrides in which each key is at each of its ends, or each of its choices, once."""
        ends = {key: _ends(distribution) for key, distribution in self.keys.items()}
        first = {key: values[0] for key, values in ends.items()}
        found = [self.words(first)]
        found += [self.words(first | {key: end}) for key, values in ends.items() for end in values[1:]]
        return found


def read_space(lines: Sequence[str]) -> Space:
    """Takes the overrides apart.

    Raises:
        UserError: none of them leaves anything to choose, or a range is empty.
    """
    parser = OverridesParser.create()
    fixed, keys = [], {}
    for line in lines:
        override = parser.parse_override(line)
        if override.is_sweep_override():
            keys[override.key_or_group] = _distribution(override)
        else:
            fixed.append(line.lstrip("+"))
    if not keys:
        fix = "write for example optimizer.lr=tag(log,interval(1e-4,1e-1)) network=choice(unet,vnet)"
        raise UserError("hydra/sweeper=optuna", "there is nothing to choose", fix)
    return Space(tuple(fixed), keys)


def _distribution(override: Override) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    try:
        if isinstance(value, IntervalSweep):
            start: Any = value.start
            end: Any = value.end
            log = "log" in value.tags
            if isinstance(start, int) and isinstance(end, int):
                return IntDistribution(start, end, log=log)
            return FloatDistribution(float(start), float(end), log=log)
        words = list(override.sweep_string_iterator())
        if isinstance(value, RangeSweep) and all(word.lstrip("-").isdigit() for word in words):
            numbers = sorted(int(word) for word in words)
            return IntDistribution(numbers[0], numbers[-1], step=max(1, int(value.step or 1)))
        return CategoricalDistribution([str(word) for word in words])
    except (ValueError, IndexError) as error:
        reason = str(error).rstrip(".")
        raise UserError(override.key_or_group, f"is nothing to choose from ({reason})", "mend it") from None


def _ends(distribution: Any) -> list[Any]:
    choices = getattr(distribution, "choices", None)
    return list(choices) if choices is not None else [distribution.low, distribution.high]
