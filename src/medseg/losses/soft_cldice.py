"""Soft clDice (Shit 2021): vessels that stay connected, by the overlap of centre lines."""

from __future__ import annotations

from torch import Tensor

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.dice import Dice
from medseg.losses.overlap import check_smooth, compared_rows
from medseg.losses.skeleton import soft_skeleton
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm


class SoftClDice(LossTerm):
    """``(1 - alpha) * Dice + alpha * (1 - clDice)``, the mean over samples and rows.

    clDice is the harmonic mean of the share of the prediction's centre line that lies in the reference and
    of the reference's that lies in the prediction. Ignored voxels are cut out of both before the
    centre lines are drawn.

    Args:
        labels: what the codes mean.
        alpha: 0 to 1; the paper takes up to 0.5, and 1 leaves the Dice out.
        iterations: of the skeleton; as many as the widest vessel has voxels of radius.
        background: whether the background is a row too (regions have none).
        smooth: added above and below the shares of the centre lines, and in the Dice.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        alpha: float = 0.5,
        iterations: int = 3,
        background: bool = False,
        smooth: float = 1.0,
    ) -> None:
        super().__init__(labels)
        check_smooth(smooth)
        if not 0 <= alpha <= 1:
            raise UserError("loss.alpha", f"{alpha} is outside [0, 1]", "give for example 0.5")
        if iterations < 1:
            raise UserError("loss.iterations", f"{iterations} draws no centre line", "give for example 3")
        self.alpha, self.iterations, self.background, self.smooth = alpha, iterations, background, smooth
        self.dice = Dice(labels, background=background, smooth=smooth)

    def compare(self, target: Prepared) -> Tensor:
        """A scalar in [0, 1]."""
        if self.alpha == 0:
            return self.dice.compare(target)
        lines = self.alpha * (1 - self._cldice(target)).mean()
        return lines if self.alpha == 1 else (1 - self.alpha) * self.dice.compare(target) + lines

    def _cldice(self, target: Prepared) -> Tensor:
        """Per sample and row, ``(B, K)``."""
        predicted, inside = compared_rows(target, self.background)
        reference = inside.to(predicted.dtype)  # needs no gradient: its centre line keeps no graph
        precision = self._share(soft_skeleton(predicted, self.iterations), reference)
        sensitivity = self._share(soft_skeleton(reference, self.iterations), predicted)
        return 2 * precision * sensitivity / (precision + sensitivity)

    def _share(self, line: Tensor, mask: Tensor) -> Tensor:
        return ((line * mask).flatten(2).sum(2) + self.smooth) / (line.flatten(2).sum(2) + self.smooth)
