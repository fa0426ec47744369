"""Soft Dice loss (Milletari 2016, V-Net; with plain sums as in Drozdzal 2016)."""

from __future__ import annotations

from torch import Tensor

from medseg.contracts import Labels
from medseg.losses.overlap import check_smooth, measure_overlap
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm


class Dice(LossTerm):
    """One minus the mean over rows of ``(2 shared + smooth) / (predicted + target + smooth)``.

    Args:
        labels: what the codes mean.
        background: whether the background is a row too (regions have none).
        batch: take the batch as one large sample, which steadies small structures.
        smooth: added above and below, so that an empty row predicted empty costs nothing.
    """

    def __init__(
        self, labels: Labels, *, background: bool = False, batch: bool = False, smooth: float = 1e-5
    ) -> None:
        super().__init__(labels)
        check_smooth(smooth)
        self.background, self.batch, self.smooth = background, batch, smooth

    def compare(self, target: Prepared) -> Tensor:
        """A scalar in [0, 1]."""
        overlap = measure_overlap(target, background=self.background, batch=self.batch)
        above = 2 * overlap.shared + self.smooth
        return (1 - above / (overlap.predicted + overlap.target + self.smooth)).mean()
