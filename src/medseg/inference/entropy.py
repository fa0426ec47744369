"""How unsure probabilities are, in nats."""

from __future__ import annotations

import torch
from torch import Tensor


def entropy(probabilities: Tensor, overlapping: bool, dim: int = 0) -> Tensor:
    """The entropy over classes, or the sum of the regions' own; ``dim`` is the one of classes or regions.

    At most ``log K`` for ``K`` classes, ``K log 2`` for ``K`` regions.
    """
    total: Tensor = torch.special.entr(probabilities).sum(dim)
    if overlapping:
        total = total + torch.special.entr(1 - probabilities).sum(dim)
    return total
