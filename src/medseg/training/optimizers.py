"""The optimizer and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from medseg.training.settings import OptimizerSettings, ScheduleSettings


def build_optimizer(
    settings: OptimizerSettings, parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer over the trainable parameters; weight decay on those with two or more axes."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
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
