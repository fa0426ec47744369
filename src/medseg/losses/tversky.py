"""Tversky loss (Salehi 2017): Dice with a price of its own for each kind of error."""

from __future__ import annotations

from torch import Tensor

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.overlap import check_smooth, measure_overlap
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm


class Tversky(LossTerm):
    """One minus the mean of ``(shared + smooth) / (shared + alpha fp + beta fn + smooth)``.

    Args:
        labels: what the codes mean.
        alpha: price of false positives; with both at 0.5 this is Dice.
        beta: price of false negatives; above alpha it favours sensitivity.
        background: whether the background is a row too (regions have none).
        batch: take the batch as one large sample.
        smooth: added above and below, so that an empty row predicted empty costs nothing.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        background: bool = False,
        batch: bool = False,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(labels)
        check_smooth(smooth)
        if alpha < 0 or beta < 0:
            raise UserError("loss", f"alpha {alpha} or beta {beta} is negative", "give prices >= 0")
        self.alpha, self.beta = alpha, beta
        self.background, self.batch, self.smooth = background, batch, smooth

    def compare(self, target: Prepared) -> Tensor:
        """A scalar in [0, 1]."""
        overlap = measure_overlap(target, background=self.background, batch=self.batch)
        false_positive = overlap.predicted - overlap.shared
        false_negative = overlap.target - overlap.shared
        above = overlap.shared + self.smooth
        return (1 - above / (above + self.alpha * false_positive + self.beta * false_negative)).mean()
