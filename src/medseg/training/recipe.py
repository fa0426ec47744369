"""Everything that defines a run, as plain checked values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.data.settings import DataSettings, PlanSettings, SplitSettings
from medseg.evaluation.settings import EvaluationSettings
from medseg.files import value_hash
from medseg.inference.settings import InferenceSettings
from medseg.patches.settings import AugmentationSettings
from medseg.tracking.settings import TrackingSettings
from medseg.training.settings import FinetuningSettings, OptimizerSettings, ScheduleSettings, TrainingSettings

Spec = dict[str, Any]

ELSEWHERE = ("runs", "id", "tracking")
"""Keys that say where a run's files go and not what it computes: they are no part of its id."""
RANKS = ("devices", "num_nodes")
"""Of the training: over how many ranks the same samples are shared. A run may go on with others."""


def computed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides what a run computes."""
    kept = {key: value for key, value in config.items() if key not in ELSEWHERE}
    if isinstance(training := kept.get("training"), Mapping):
        kept["training"] = {key: value for key, value in training.items() if key not in RANKS}
    return kept


def id_of(config: Mapping[str, Any]) -> str:
    """The id of a run that was given none, from its frozen configuration."""
    return value_hash(computed(config))[:10]


@dataclass(frozen=True)
class Recipe:
    """One run: settings per group, and a spec ``{"_target_": ..., option: value}`` per part.

    Attributes:
        name: the study that the run belongs to; the folder above the run's own.
        config: the whole configuration as plain data, as it is written to the run's folder.
        overrides: what was given on the command line.
        flags: the flags given before them: admitted packages, configuration folders.
    """

    name: str
    seed: int
    fold: int
    runs: str
    data: DataSettings
    split: SplitSettings
    plan: PlanSettings
    augmentation: AugmentationSettings
    queue: Spec
    network: Spec
    fusion: Spec
    loss: Spec
    objective: Spec
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    finetuning: FinetuningSettings
    training: TrainingSettings
    inference: InferenceSettings
    evaluation: EvaluationSettings
    tracking: TrackingSettings
    id: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """The id given, or one made of all that the run computes: the same command, the same id."""
        return self.id or id_of(self.config)

    @property
    def folder(self) -> Path:
        """Where the run's files are."""
        return Path(self.runs) / self.name / self.run_id
