"""From minutes to steps: how long one step of this training takes on this machine."""

from __future__ import annotations

import copy
import itertools
import statistics
import time
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from medseg.contracts import Batch, Progress
from medseg.patches.on_device.augmenting import finished
from medseg.training.optimizers import build_optimizer
from medseg.training.settings import OptimizerSettings

WARM, TIMED = 3, 7
SHARE = 0.9
"""The share of the budget spent on steps; the rest is for validation and checkpoints."""


def steps_for(minutes: float, seconds_per_step: float, epoch_steps: int) -> int:
    """Whole epochs of steps that fit the budget, at least one."""
    steps = SHARE * minutes * 60 / seconds_per_step
    return max(epoch_steps, int(steps // epoch_steps) * epoch_steps)


def seconds_per_step(
    network: nn.Module,
    objective: nn.Module,
    optimizer: OptimizerSettings,
    batches: Iterable[dict[str, Batch]],
    precision: str,
    accumulate: int,
    device: torch.device,
    counts: tuple[int, int] = (WARM, TIMED),
) -> float:
    """The median time of an optimizer step, reading its batches included, on copies that are thrown away.

    ``counts`` are the steps before the clock is started, and those that are timed.
    """
    network, objective = (
        copy.deepcopy(network).to(device).train(),
        copy.deepcopy(objective).to(device).train(),
    )
    objective.attach(network)  # type: ignore[operator]
    every = [*network.parameters(), *objective.parameters()]
    adam = build_optimizer(optimizer, [([p for p in every if p.requires_grad], 1.0)])
    stream = itertools.chain.from_iterable(itertools.repeat(batches))
    durations = []
    for _ in range(sum(counts)):
        start = time.perf_counter()
        for _ in range(accumulate):
            _backward(network, objective, stream, precision, device)
        adam.step()
        adam.zero_grad()
        objective.after_step(network, Progress(1, WARM + TIMED, 0))  # type: ignore[operator]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[counts[0] :])


def _backward(
    network: nn.Module,
    objective: nn.Module,
    stream: Iterator[dict[str, Batch]],
    precision: str,
    device: torch.device,
) -> None:
    quick = device.type == "cuda"
    batch = {name: finished(part.to(device, non_blocking=quick)) for name, part in next(stream).items()}
    reduced = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    with torch.autocast(device.type, dtype=reduced or torch.bfloat16, enabled=reduced is not None):
        terms = objective.step(network, batch, Progress(0, WARM + TIMED, 0))  # type: ignore[operator]
    terms["loss"].backward()
