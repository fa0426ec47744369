"""The optimizer and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from medseg.training.settings import OptimizerSettings, ScheduleSettings


def build_optimizer(
    settings: OptimizerSettings, rates: Iterable[tuple[Iterable[nn.Parameter], float]]
) -> torch.optim.Optimizer:
    """The optimizer; weight decay on parameters with two or more axes.

    Args:
        settings: which one, and its numbers.
        rates: groups of parameters, each with its learning rate as a share of ``settings.lr``.
    """
    groups: list[dict[str, Any]] = []
    for parameters, share in rates:
        several = list(parameters)
        for decay, chosen in (
            (settings.weight_decay, [p for p in several if p.ndim > 1]),
            (0.0, [p for p in several if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "lr": settings.lr * share})
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
        )
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)


def rate_at(step: int, settings: ScheduleSettings, total_steps: int) -> float:
    """The learning rate of ``step`` (from 0) as a share of the highest."""
    warmup = round(settings.warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.name == "constant":
        return 1.0
    done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if settings.name == "cosine":
        falling = 0.5 * (1 + math.cos(math.pi * done))
    else:
        falling = (1 - done) ** settings.power
    return settings.final_share + (1 - settings.final_share) * falling


def build_schedule(
    settings: ScheduleSettings, optimizer: torch.optim.Optimizer, total_steps: int
) -> LambdaLR:
    """The schedule, stepped once per optimizer step."""
    return LambdaLR(optimizer, partial(rate_at, settings=settings, total_steps=total_steps))
