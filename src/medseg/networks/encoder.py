"""The encoder that all U-Nets share: a block per level, each level's features handed on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.contracts import Pyramid
from medseg.networks.memory_layout import in_fast_layout


class LevelEncoder(nn.Module):
    """One stage after the other; what each gives is a level of the pyramid.

    Args:
        stages: a module per level, finest first.
        pyramid: the channels and strides that the stages give.
    """

    def __init__(self, stages: Sequence[nn.Module], pyramid: Pyramid) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, M, *S)`` -> features per level, finest first."""
        features = in_fast_layout(image)
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return levels
