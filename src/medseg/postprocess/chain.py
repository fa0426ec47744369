"""Steps one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from medseg.contracts import Labels
from medseg.postprocess.segmented import Segmented
from medseg.postprocess.step import Step
from medseg.targets import build, problems

Spec = Mapping[str, Any]


class Chain(Step):
    """Several steps, each on what the one before it left; none at all leaves a prediction as it is.

    Args:
        labels: what the codes mean.
        steps: specs, ``_target_`` and options.

    Raises:
        Problems: a step that is none, or options that it does not take.
    """

    def __init__(self, labels: Labels, *, steps: Sequence[Spec] = ()) -> None:
        super().__init__(labels)
        self.steps = tuple(cast("Step", build(spec, "postprocess", labels)) for spec in steps)

    @property
    def needs(self) -> frozenset[str]:
        """What any of the steps reads beside the codes."""
        return frozenset[str]().union(*(step.needs for step in self.steps))

    def __call__(self, case: Segmented) -> Segmented:
        """The case after the last step."""
        for step in self.steps:
            case = step(case)
        return case


def step_problems(specs: Sequence[Spec]) -> list[str]:
    """What is wrong with a list of specs, told from the source; nothing is imported."""
    return [line for spec in specs for line in problems(spec, "postprocess", ("labels",))]
