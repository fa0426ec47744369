"""What `medseg tune` tries. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

STEPS = ("threshold", "largest_component", "minimum_size", "fill_holes")
"""What is tried unless something else is said."""


@dataclass(frozen=True)
class TuningSettings:
    """What is tried, and when it is kept.

    Attributes:
        steps: names of ``conf/postprocess``; ``dense_crf`` may be among them.
        temperature: whether one is fitted.
        noise: how many standard errors, over patients, a gain must exceed.
        least: the smallest gain in mean Dice that is worth a step.
    """

    steps: tuple[str, ...] = STEPS
    temperature: bool = True
    noise: float = 2.0
    least: float = 0.001
