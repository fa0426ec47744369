"""Focal loss (Lin 2017): cross-entropy that cares less the surer the network is."""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm
from medseg.losses.voxelwise import ClassWeights, mean_over_voxels, read_class_weights, weigh_voxels


class Focal(LossTerm):
    """Mean of ``(1 - p) ** gamma * -log p`` with ``p`` the probability of the target.

    Args:
        labels: what the codes mean.
        gamma: 0 is cross-entropy; at least 1 otherwise, since the gradient at ``p = 1`` is infinite between.
        class_weights: as of the cross-entropy; the mean is weighted.
    """

    class_weights: Tensor | None

    def __init__(
        self, labels: Labels, *, gamma: float = 2.0, class_weights: ClassWeights | None = None
    ) -> None:
        super().__init__(labels)
        if gamma != 0 and gamma < 1:
            raise UserError("loss.gamma", f"{gamma} is neither 0 nor at least 1", "give for example 2.0")
        self.gamma = gamma
        self.register_buffer("class_weights", read_class_weights(class_weights, labels), persistent=False)

    def compare(self, target: Prepared) -> Tensor:
        """A scalar >= 0."""
        log_p = target.log_likelihood
        doubt = -torch.expm1(log_p)
        return mean_over_voxels(-(doubt**self.gamma) * log_p, weigh_voxels(target, self.class_weights))
