"""The one exponential moving average of weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA(nn.Module):
    """A copy of a network whose weights follow it: ``w = d * w + (1 - d) * network``.

    In the first steps ``d`` is ``1 - 1 / (step + 1)``, the plain mean of the weights so far, until that
    reaches ``decay`` (Tarvainen and Valpola 2017). Buffers, such as the statistics of a batch norm, are
    copied. It is never trained, it evaluates, and it is stored in checkpoints as part of the objective.

    Args:
        network: to copy.
        decay: at least 0, below 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> EMA:
        """Stays as it is: a teacher neither drops features nor updates statistics."""
        return self

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Follows ``network``; ``step`` counts the real optimizer steps taken, from 1."""
        decay = min(1 - 1 / (step + 1), self.decay)
        own, others = list(self.network.parameters()), list(network.parameters())
        for mine, its in zip(own, others, strict=True):
            mine.lerp_(its.detach().to(mine.dtype), 1 - decay)
        for kept, its_own in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(its_own)
