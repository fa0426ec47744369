"""NT-Xent (Sohn 2016; Chen 2020, SimCLR): each row finds its partner among all the others."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def nt_xent(left: Tensor, right: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The cross-entropy of each row's partner among the ``2N - 1`` other rows, by cosine similarity.

    Computed in 32 bits, whatever the precision around it.

    Args:
        left: ``(N, C)``.
        right: ``(N, C)``; row ``i`` is the partner of row ``i`` of ``left``. All other rows are negatives.
        temperature: above 0; similarities are divided by it.

    Returns:
        The mean over the ``2N`` rows, and the share of them whose partner is the most similar, detached.
    """
    with torch.autocast(left.device.type, enabled=False):
        rows = functional.normalize(torch.cat([left, right]).float(), dim=1)
        similarity = rows @ rows.t() / temperature
        itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        similarity = similarity.masked_fill(itself, -torch.inf)
        partner = torch.arange(len(rows), device=rows.device).roll(len(left))
        found = similarity.detach().argmax(1) == partner
        return functional.cross_entropy(similarity, partner), found.float().mean()


def gather_rows(rows: Tensor) -> Tensor:
    """``(N, C)`` of this rank -> ``(ranks * N, C)`` of all, in their order, with a gradient.

    For a loss that every rank computes of all rows: the mean of the ranks' gradients, which distributed
    training takes, is then that of a single process with all rows. Every rank must bring as many rows.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Each rank has the same loss of the same rows, so the sum of what they find is so many times this.
        world = dist.get_world_size()
        return gradient.chunk(world)[dist.get_rank()] * world
