"""What is done to the mean probabilities of a model: a temperature, then steps of post-processing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from medseg.contracts import Labels
from medseg.data.plan_file import plain
from medseg.errors import UserError
from medseg.inference.patients import SeenPatients
from medseg.postprocess.chain import Chain

Spec = Mapping[str, Any]
LEAST = 1e-7
"""Probabilities are taken as at least this before their logarithm."""


@dataclass(frozen=True)
class Finish:
    """How a prediction is finished; the default leaves it as the network gives it.

    Attributes:
        postprocess: steps, specs of `medseg.postprocess`.
        temperature: what the logits of the mean probabilities are divided by.
        tuned_on: the patients whose labels chose these; nobody may be scored who is among them.
    """

    postprocess: tuple[Spec, ...] = ()
    temperature: float = 1.0
    tuned_on: tuple[SeenPatients, ...] = field(default=(), compare=False)

    def tuned(self, patient: str) -> bool:
        """Whether this patient's label chose the steps or the temperature."""
        return any(patient in patients for patients in self.tuned_on)

    @property
    def decides(self) -> dict[str, Any]:
        """As JSON values, for a hash: what of it changes a prediction."""
        return {"postprocess": plain(list(self.postprocess)), "temperature": self.temperature}

    def chain(self, labels: Labels) -> Chain:
        """The steps, built.

        Raises:
            UserError: one of them does not fit the labels.
        """
        return Chain(labels, steps=self.postprocess)

    def with_steps(self, postprocess: Sequence[Spec]) -> Finish:
        """The same with the steps that the user named; none at all is the network's own prediction."""
        from medseg.targets import constants

        steps = tuple(step for spec in postprocess for step in _flat(spec))
        if not steps:
            return Finish()
        needs = any("probabilities" in constants(str(step["_target_"])).get("NEEDS", ()) for step in steps)
        # A step that reads no probabilities is not touched by the temperature, nor by whom it was fitted on.
        return replace(self, postprocess=steps) if needs else Finish(steps)


def _flat(spec: Spec) -> Sequence[Spec]:
    """The steps of a chain one by one, so that an empty chain is no step."""
    if str(spec.get("_target_")) != "medseg.postprocess.chain.Chain":
        return (spec,)
    return [step for inner in spec.get("steps", ()) for step in _flat(inner)]


def common_finish(finishes: Sequence[Finish], names: Sequence[object]) -> Finish:
    """The finish of models that are averaged: theirs, where they agree.

    Raises:
        UserError: they were tuned differently, so that none of them fits the mean.
    """
    first = finishes[0]
    for name, other in zip(names[1:], finishes[1:], strict=True):
        if other.decides != first.decides:
            problem = f"was given another post-processing or temperature than {names[0]}"
            fix = "name postprocess=none, or make one model of them with medseg tune study=FOLDER"
            raise UserError(str(name), problem, fix)
    return replace(first, tuned_on=tuple(patients for one in finishes for patients in one.tuned_on))


def tempered(probabilities: Tensor, temperature: float, overlapping: bool) -> Tensor:
    """``(K, ...)`` with the logits divided by a temperature (Guo 2017), after averaging (Rahaman 2021).

    Above 1 they get less sure. Neither the largest class nor the side of one half changes.
    """
    if temperature == 1:
        return probabilities
    inside = probabilities.clamp(LEAST, 1 - LEAST)
    if overlapping:
        return (torch.logit(inside) / temperature).sigmoid()
    return (inside.log() / temperature).softmax(dim=0)
