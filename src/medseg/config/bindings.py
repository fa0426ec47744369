"""What each key of a configuration is bound to: a settings class, a part, or nothing."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from medseg.config.verbs import VERBS
from medseg.targets import SLOTS, Parameter, parameters

SETTINGS = {
    "data": "medseg.data.settings.DataSettings",
    "split": "medseg.data.settings.SplitSettings",
    "plan": "medseg.data.settings.PlanSettings",
    "augmentation": "medseg.patches.settings.AugmentationSettings",
    "optimizer": "medseg.training.settings.OptimizerSettings",
    "schedule": "medseg.training.settings.ScheduleSettings",
    "finetuning": "medseg.training.settings.FinetuningSettings",
    "training": "medseg.training.settings.TrainingSettings",
    "inference": "medseg.inference.settings.InferenceSettings",
    "evaluation": "medseg.evaluation.settings.EvaluationSettings",
    "tracking": "medseg.tracking.settings.TrackingSettings",
}
"""Group -> the dataclass that its keys are bound to."""

NESTED = {
    ("data", "phantom"): "medseg.data.phantom.PhantomSettings",
    ("data", "source"): "medseg.data.source_settings.SourceSettings",
}
"""A group's field that has settings of its own; they are read from the source, their module may be heavy."""

PROVIDED = {
    "network": ("topology",),
    "fusion": (
        "architecture",
        "modalities",
        "out_channels",
        "deep_supervision",
        "overlapping",
        "slices",
    ),
    "loss": ("labels",),
    "objective": ("loss",),
    "queue": ("store", "ids", "plan", "augmentation", "seed", "labelled"),
    "postprocess": ("labels",),
}
"""Part -> what medseg itself hands to its constructor."""

ELSEWHERE = {"network.pretrained": "finetuning.pretrained"}
"""Options that one may look for in a part -> where they are, for all of its kind."""

assert PROVIDED.keys() == SLOTS.keys()


def root_class(verb: str) -> str:
    """The dotted path of the settings that the verb's root keys are bound to."""
    return VERBS[verb].root.replace(":", ".")


@cache
def fields(group: str) -> Mapping[str, Parameter]:
    """The fields of a settings group; their source is read once in a process."""
    return {p.name: p for p in parameters(SETTINGS[group])}


def make(dotted: str, values: Mapping[str, Any]) -> Any:
    """The settings dataclass at ``dotted``, made of values that were converted already."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)(**values)


def known_keys(verb: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Every key that the verb understands with the parts now chosen, dotted."""
    yield from (p.name for p in parameters(root_class(verb)))
    for group, value in config.items():
        if group in SETTINGS or group in SLOTS:
            yield group
        if group in SETTINGS:
            yield from (f"{group}.{name}" for name in fields(group))
            for (owner, name), dotted in NESTED.items():
                yield from (f"{group}.{name}.{p.name}" for p in parameters(dotted) if owner == group)
        elif group in SLOTS and isinstance(value, Mapping):
            taken = parameters(str(value.get("_target_", "")))
            yield from (f"{group}.{p.name}" for p in taken if p.name not in PROVIDED[group])
