"""The choices of ``conf/hydra/sweeper/optuna.yaml``. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLERS = ("tpe", "random")
DIRECTIONS = ("maximize", "minimize")


@dataclass(frozen=True)
class SearchSettings:
    """A search with Optuna.

    Attributes:
        trials: trainings altogether, over all times that the command is given.
        metric: of the validation cases, the mean over the classes; a name of the report's table.
        direction: whether more or less of it is better.
        sampler: ``tpe`` (Bergstra et al. 2011) or ``random``.
        startup: trials drawn at random before ``tpe`` looks at the results.
        at_once: trials that are drawn and run together.
        seed: of the sampler.
    """

    kind: str = "optuna"
    trials: int = 20
    metric: str = "dice"
    direction: str = "maximize"
    sampler: str = "tpe"
    startup: int = 10
    at_once: int = 1
    seed: int = 0

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        found = []
        for name in ("trials", "startup", "at_once"):
            if getattr(self, name) < 1:
                found.append(f"{name}: {getattr(self, name)} is less than 1; give 1 or more")
        if self.sampler not in SAMPLERS:
            found.append(f"sampler: {self.sampler!r} is unknown; use one of {', '.join(SAMPLERS)}")
        if self.direction not in DIRECTIONS:
            found.append(f"direction: {self.direction!r} is unknown; use maximize or minimize")
        if self.seed < 0:
            found.append(f"seed: {self.seed} is negative; use 0 or more")
        return found
