"""What a training will cost. Standard library only, so that a sweep is planned without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """What a training will cost on this machine.

    Attributes:
        seconds: of one optimizer step, patches not counted.
        steps: optimizer steps.
        hours: of the training; validation takes a little more.
        memory_gb: of the GPU, or of the process where there is none.
        device: ``cpu`` or ``cuda``.
        patch: voxels per axis.
        batch: patches per step on all ranks.
    """

    seconds: float
    steps: int
    hours: float
    memory_gb: float
    device: str
    patch: tuple[int, ...]
    batch: int
