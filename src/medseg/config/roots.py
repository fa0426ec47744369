"""The keys at the root of each verb's configuration. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
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
    """Root keys of ``preprocess``: as ``plan``, the processes that share the work, and which share of it."""

    fold: int = 0
    workers: int = 0
    shard: str | None = None

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        return _not_negative(fold=self.fold, workers=self.workers)


@dataclass(frozen=True)
class StatusRoot:
    """Root keys of ``status``: the study's folder."""

    study: str


@dataclass(frozen=True)
class PredictRoot:
    """Root keys of ``predict``: models or run folders, the folder of scans, the folder to write."""

    model: str | list[str]
    input: str
    output: str
    unseen: list[str] = field(default_factory=list)
    shard: str | None = None
    workers: int = 1

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        if self.workers < 1:
            return [f"workers: {self.workers} is too few; use 1 or more"]
        if self.workers > 1 and self.shard is not None:
            return ["workers: a share is predicted by one process; leave out shard or workers"]
        return []


TUNABLE = ("threshold", "dense_crf", "largest_component", "minimum_size", "fill_holes")
"""Steps that `medseg tune` may try."""


@dataclass(frozen=True)
class TuneRoot:
    """Root keys of ``tune``; ``conf/tune.yaml`` says what they mean."""

    run: str | None = None
    study: str | None = None
    steps: list[str] = field(default_factory=list)
    temperature: bool = True
    noise: float = 2.0
    least: float = 0.001

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        found = [
            f"steps: {name!r} cannot be tuned; use some of {', '.join(TUNABLE)}"
            for name in self.steps
            if name not in TUNABLE
        ]
        if (self.run is None) == (self.study is None):
            found.append("run: give either a run or a study; add run=FOLDER or study=FOLDER")
        if not self.steps and not self.temperature:
            found.append("steps: there is nothing to choose; name some, or use temperature=true")
        if self.noise < 0:
            found.append(f"noise: {self.noise:g} is negative; 2 standard errors are usual")
        if self.least < 0:
            found.append(f"least: {self.least:g} is negative; use 0 or more")
        return found


@dataclass(frozen=True)
class EvaluateRoot:
    """Root keys of ``evaluate``: a run and the part of its split, a study, or a folder of predictions."""

    run: str | None = None
    study: str | None = None
    vary: list[str] | None = None
    part: Literal["test", "validation"] = "validation"
    predictions: str | None = None
    output: str | None = None
    missing: Literal["all"] | None = None

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        if self.missing is not None and self.run is None:
            return ["missing: needs a model to try; add run=FOLDER"]
        if sum(given is not None for given in (self.run, self.study, self.predictions)) != 1:
            return ["run: give one thing to score; add run=FOLDER, study=FOLDER or predictions=FOLDER"]
        if self.study is not None and self.part != "validation":
            return ["part: the folds of a study are scored on their validation cases; leave part out"]
        if self.study is None and self.vary is not None:
            return ["vary: tells the methods of a study apart; add study=FOLDER or leave it out"]
        return []


@dataclass(frozen=True)
class CompareRoot:
    """Root keys of ``compare``; ``conf/compare.yaml`` says what they mean."""

    runs: list[str]
    part: str = "validation"
    metrics: list[str] = field(default_factory=lambda: ["dice", "hd95"])
    vary: list[str] | None = None
    against: str | None = None
    raters: str | None = "auto"
    alpha: float = 0.05
    bootstrap: int = 10_000
    seed: int = 0
    output: str | None = None

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        found = _not_negative(seed=self.seed)
        if not self.runs:
            found.append("runs: there is nothing to compare; write medseg compare FOLDER ...")
        if not self.metrics:
            found.append("metrics: there is none; give one or more, as [dice,hd95]")
        if not 0 < self.alpha < 0.5:
            found.append(f"alpha: {self.alpha:g} is out of range; give a number above 0 and below 0.5")
        if not 100 <= self.bootstrap <= 1_000_000:
            found.append(f"bootstrap: {self.bootstrap} is out of range; give 100 to 1000000")
        return found


@dataclass(frozen=True)
class SyncRoot:
    """Root keys of ``sync``: run folders or studies, where their W&B runs go, and whether a report does."""

    runs: list[str]
    report: bool = False
    entity: str | None = None
    project: str | None = None

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        if not self.runs:
            return ["runs: there is nothing to send; write medseg sync FOLDER ..."]
        if self.report and len(self.runs) > 1:
            return ["report: a report is of one study; give one folder, as runs/NAME"]
        return []


@dataclass(frozen=True)
class DownloadRoot:
    """Root keys of ``download``: the folder that the data set goes to."""

    into: str = "data"


MEASURED = ("data",)
"""What `medseg bench` measures."""


@dataclass(frozen=True)
class BenchRoot:
    """Root keys of ``bench``.

    Attributes:
        what: what is measured, one of `MEASURED`; also the word after ``bench``.
        seed: of the patches and the network.
        fold: the fold whose validation cases are left out.
        seconds: measured for each number of workers, about.
        patches: measured instead for each number of workers.
        workers: the numbers of workers; ``None`` for 0, 1, 2, 4 and so on up to the cores.
        output: a JSON file for the numbers.
    """

    what: str = "data"
    seed: int = 0
    fold: int = 0
    seconds: float = 4.0
    patches: int | None = None
    workers: list[int] | None = None
    output: str | None = None

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        found = _not_negative(seed=self.seed, fold=self.fold)
        if self.what not in MEASURED:
            found.append(f"what: {self.what!r} cannot be measured; medseg bench knows {', '.join(MEASURED)}")
        if not 0 < self.seconds <= 3600:
            found.append(f"seconds: {self.seconds:g} is out of range; give a number above 0, at most 3600")
        if self.patches is not None and self.patches < 1:
            found.append(f"patches: {self.patches} is less than 1; give 1 or more")
        if self.workers is not None and (not self.workers or min(self.workers) < 0):
            found.append(f"workers: {self.workers} names no numbers of workers; write [0,1,2]")
        return found


@dataclass(frozen=True)
class NetworksRoot:
    """Root keys of ``networks``: what the costs are counted for.

    Attributes:
        patch_size: voxels per axis, 2 or 3 of them; ``None`` for 512 x 512 and 128 x 128 x 128.
        modalities: channels of the image.
        classes: channels of the logits.
        width: channels of the first level, doubled from level to level.
    """

    patch_size: list[int] | None = None
    modalities: int = 1
    classes: int = 2
    width: int = 32

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        found = [
            f"{name}: {getattr(self, name)} is too small; use 1 or more"
            for name in ("modalities", "classes", "width")
            if getattr(self, name) < 1
        ]
        patch = self.patch_size
        if patch is not None and (len(patch) not in (2, 3) or min(patch) < 1):
            found.append(f"patch_size: {patch} is no size; give 2 or 3 numbers of voxels")
        return found
