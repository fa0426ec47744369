"""The encoder that all U-Nets share: a block per level, each level's features handed on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.contracts import Pyramid
from medseg.errors import UserError
from medseg.networks.memory_layout import exporting, in_fast_layout


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
        """``(B, M, *S)`` -> features per level, finest first.

        Raises:
            UserError: for a size that the strides do not divide; a decoder could not join its levels.
        """
        if not exporting():
            self._check(tuple(image.shape[2:]))
        features = in_fast_layout(image)
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return levels

    def _check(self, size: tuple[int, ...]) -> None:
        steps = self.pyramid.strides[-1]
        if any(n % step for n, step in zip(size, steps, strict=True)):
            raise UserError(
                "network", f"an image of {list(size)} voxels", f"give multiples of {list(steps)}, or pad it"
            )
