"""Generalised Dice loss (Sudre 2017): one fraction for all classes, the small ones weighing more."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from medseg.contracts import Labels
from medseg.losses.overlap import check_smooth, measure_overlap
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm

Weighting = Literal["square", "simple", "uniform"]
POWERS: dict[str, int] = {"square": 2, "simple": 1, "uniform": 0}


class GeneralisedDice(LossTerm):
    """Mean over samples of ``1 - (2 sum w shared + smooth) / (sum w (predicted + target) + smooth)``.

    The sums go over rows; ``w`` is ``(V_min / V) ** 2`` with ``V`` the voxels of the row in the reference
    and ``V_min`` those of the smallest that is there, which also stands for rows that are empty.

    Args:
        labels: what the codes mean.
        weighting: ``square`` as in the paper, ``simple`` for ``V_min / V``, ``uniform`` for 1.
        background: whether the background is a row too, as in the paper (regions have none).
        batch: take the batch as one large sample.
        smooth: added above and below, so that an empty sample predicted empty costs nothing.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        weighting: Weighting = "square",
        background: bool = True,
        batch: bool = False,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(labels)
        check_smooth(smooth)
        self.power = POWERS[weighting]
        self.background, self.batch, self.smooth = background, batch, smooth

    def compare(self, target: Prepared) -> Tensor:
        """A scalar in [0, 1]."""
        overlap = measure_overlap(target, background=self.background, batch=self.batch)
        volumes = overlap.target.masked_fill(overlap.target == 0, torch.inf)
        least = volumes.amin(1, keepdim=True)
        weights = torch.where(volumes.isinf(), 1.0, (least / volumes) ** self.power)
        above = 2 * (weights * overlap.shared).sum(1) + self.smooth
        below = (weights * (overlap.predicted + overlap.target)).sum(1) + self.smooth
        return (1 - above / below).mean()
