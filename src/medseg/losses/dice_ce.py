"""Dice and cross-entropy together, nnU-Net's default (Isensee 2021)."""

from __future__ import annotations

from torch import Tensor

from medseg.contracts import Labels
from medseg.losses.cross_entropy import CrossEntropy
from medseg.losses.dice import Dice
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm
from medseg.losses.voxelwise import ClassWeights


class DiceCE(LossTerm):
    """``dice_weight * Dice + ce_weight * CrossEntropy``; the softmax is made once for both.

    Args:
        labels: what the codes mean.
        dice_weight: of the Dice term.
        ce_weight: of the cross-entropy term.
        background: whether the background is a row of the Dice too (regions have none).
        batch: take the batch as one large sample in the Dice.
        smooth: of the Dice.
        class_weights: of the cross-entropy, per class with the background first, or per region.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        background: bool = False,
        batch: bool = False,
        smooth: float = 1e-5,
        class_weights: ClassWeights | None = None,
    ) -> None:
        super().__init__(labels)
        self.dice_weight, self.ce_weight = dice_weight, ce_weight
        self.dice = Dice(labels, background=background, batch=batch, smooth=smooth)
        self.cross_entropy = CrossEntropy(labels, class_weights=class_weights)

    def compare(self, target: Prepared) -> Tensor:
        """A scalar >= 0."""
        return self.dice_weight * self.dice.compare(target) + self.ce_weight * self.cross_entropy.compare(
            target
        )
