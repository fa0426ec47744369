"""The decoder that all U-Nets share: level by level up, a head on some of the levels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class SkipDecoder(nn.Module):
    """Enlarges, joins what the encoder found at that level, refines.

    Deep supervision puts a head on every level that is made but the coarsest, as nnU-Net does; without
    it there is the finest head alone.

    Args:
        upsamples: a module per level that is made, finest first.
        blocks: what refines the joined features, a module per level.
        heads: features -> logits, for the finest levels; see `count_heads`.
    """

    def __init__(
        self, upsamples: Iterable[nn.Module], blocks: Iterable[nn.Module], heads: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.upsamples = nn.ModuleList(upsamples)
        self.blocks = nn.ModuleList(blocks)
        self.heads = nn.ModuleList(heads)

    def join(self, level: int, enlarged: Tensor, skip: Tensor, below: Tensor) -> Tensor:
        """What the block of a level reads.

        Args:
            level: counted from the finest that the encoder has.
            enlarged: ``(B, C, *S)`` from the level below.
            skip: ``(B, C', *S)``, the encoder's.
            below: ``(B, C'', *S / step)``, from which ``enlarged`` was made.
        """
        del level, below
        return torch.cat((enlarged, skip), dim=1)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Features per level, finest first -> logits, the coarser ones in training alone."""
        depth = len(self.blocks)
        skips = list(features)[: len(features) - 1]
        offset = depth - len(skips)  # 1 where the last enlarging has no skip
        now = features[-1]
        decoded = [now]
        for level in range(depth - 1, -1, -1):
            below, now = now, self.upsamples[level](now)
            if level >= offset:
                now = self.join(level - offset, now, skips[level - offset], below)
            now = self.blocks[level](now)
            decoded.insert(0, now)
        count = len(self.heads) if self.training else 1
        return tuple(head(level) for head, level in zip(self.heads[:count], decoded, strict=False))


def count_heads(levels: int, deep_supervision: bool) -> int:
    """How many of the levels that a decoder makes get a head."""
    return max(1, levels - 1) if deep_supervision else 1
