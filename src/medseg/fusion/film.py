"""Features scaled and shifted by which modality they come from (Perez 2018, FiLM)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.fusion.presence import broadcast


class ModalityFilm(nn.Module):
    """``(1 + scale[id]) * f + shift[id]`` per channel, at every level of a pyramid; starts as nothing.

    Args:
        channels: of each level.
        slots: how many modalities can be named.
    """

    def __init__(self, channels: Sequence[int], slots: int) -> None:
        super().__init__()
        self.sizes = [size for level in channels for size in (level, level)]
        self.table = nn.Parameter(torch.zeros(slots, sum(self.sizes)))

    def forward(self, levels: Sequence[Tensor], ids: Tensor) -> list[Tensor]:
        """Per level ``(N, C, *S)``, and the slot of each row ``(N,)`` int64 -> the same shapes."""
        rows = torch.split(functional.embedding(ids, self.table), self.sizes, dim=1)
        pairs = zip(levels, rows[0::2], rows[1::2], strict=True)
        return [f * broadcast(1 + scale, f) + broadcast(shift, f) for f, scale, shift in pairs]
