"""Dice and focal loss together (Zhu 2019, AnatomyNet)."""

from __future__ import annotations

from torch import Tensor

from medseg.contracts import Labels
from medseg.losses.dice import Dice
from medseg.losses.focal import Focal
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm
from medseg.losses.voxelwise import ClassWeights


class DiceFocal(LossTerm):
    """``dice_weight * Dice + focal_weight * Focal``; the softmax is made once for both.

    Args:
        labels: what the codes mean.
        dice_weight: of the Dice term.
        focal_weight: of the focal term.
        background: whether the background is a row of the Dice too (regions have none).
        batch: take the batch as one large sample in the Dice.
        smooth: of the Dice.
        gamma: of the focal loss, 0 or at least 1.
        class_weights: of the focal loss, per class with the background first, or per region.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        dice_weight: float = 1.0,
        focal_weight: float = 1.0,
        background: bool = False,
        batch: bool = False,
        smooth: float = 1e-5,
        gamma: float = 2.0,
        class_weights: ClassWeights | None = None,
    ) -> None:
        super().__init__(labels)
        self.dice_weight, self.focal_weight = dice_weight, focal_weight
        self.dice = Dice(labels, background=background, batch=batch, smooth=smooth)
        self.focal = Focal(labels, gamma=gamma, class_weights=class_weights)

    def compare(self, target: Prepared) -> Tensor:
        """A scalar >= 0."""
        return self.dice_weight * self.dice.compare(target) + self.focal_weight * self.focal.compare(target)
