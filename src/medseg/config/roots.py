"""The keys at the root of each verb's configuration. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


def _folder_name(field: str, value: str | None) -> list[str]:
    if value is None or re.fullmatch(r"[\w][\w.-]*", value):
        return []
    return [f"{field}: {value!r} cannot be a folder's name; use letters, digits, '.', '_', '-'"]


def _not_negative(**values: int | None) -> list[str]:
    return [f"{k}: {v} is negative; use 0 or more" for k, v in values.items() if v is not None and v < 0]


@dataclass(frozen=True)
class TrainRoot:
    """Root keys of ``train``.

    Attributes:
        name: the study; the folder below ``runs`` that the run's own folder is in.
        seed: of everything random but the split.
        fold: the fold to validate on.
        runs: where run folders are made.
        id: the run's own folder; ``None`` takes a hash of the configuration, so that the same command
            finds its run again and goes on with it.
    """

    name: str
    seed: int = 0
    fold: int = 0
    runs: str = "runs"
    id: str | None = None

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        names = [*_folder_name("name", self.name), *_folder_name("id", self.id)]
        large = [f"seed: {self.seed} is too large; use less than 2**32"] if self.seed >= 2**32 else []
        return [*names, *large, *_not_negative(seed=self.seed, fold=self.fold)]


@dataclass(frozen=True)
class CheckRoot:
    """Root keys of ``check``: ``report`` is the folder for the page, ``None`` for no page."""

    report: str | None = None


@dataclass(frozen=True)
class PlanRoot:
    """Root keys of ``plan``: the ``fold`` whose training cases are measured, and the file to write."""

    output: str = "plan.yaml"
    fold: int = 0

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        return _not_negative(fold=self.fold)


@dataclass(frozen=True)
class PreprocessRoot:
    """Root keys of ``preprocess``: as ``plan``, and the processes that share the work."""

    fold: int = 0
    workers: int = 0

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        return _not_negative(fold=self.fold, workers=self.workers)


@dataclass(frozen=True)
class PredictRoot:
    """Root keys of ``predict``: bundles or run folders, the folder of scans, the folder to write."""

    model: str | list[str]
    input: str
    output: str


@dataclass(frozen=True)
class EvaluateRoot:
    """Root keys of ``evaluate``: a run and the part of its split, or a folder of predictions."""

    run: str | None = None
    part: Literal["test", "validation"] = "validation"
    predictions: str | None = None
    output: str | None = None

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        if (self.run is None) == (self.predictions is None):
            return ["run: give either a run or predictions; add run=FOLDER or predictions=FOLDER"]
        return []


@dataclass(frozen=True)
class DownloadRoot:
    """Root keys of ``download``: the folder that the data set goes to."""

    into: str = "data"
