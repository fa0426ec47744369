"""Boundary loss (Kervadec 2019): errors cost as much as they are far from the reference's boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.contracts import Labels
from medseg.losses.distance import distance_to_boundary
from medseg.losses.overlap import compared_rows
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm
from medseg.losses.voxelwise import mean_over_voxels


class Boundary(LossTerm):
    """Mean over voxels and rows of ``signed distance * (p - g)``, the distance negative inside the reference.

    The ``- g``, which the paper drops, changes no gradient and puts the minimum at 0, where ``p`` is the
    reference. Distances are in voxels, see `distance_to_boundary`. A row without a boundary in the patch says
    nothing: combine this with a region loss, as the paper does.

    Args:
        labels: what the codes mean.
        background: whether the background is a row too (regions have none).
    """

    def __init__(self, labels: Labels, *, background: bool = False) -> None:
        super().__init__(labels)
        self.background = background

    def compare(self, target: Prepared) -> Tensor:
        """A scalar >= 0, in voxels."""
        probabilities, inside = compared_rows(target, self.background)
        distance = distance_to_boundary(inside, target.mask).to(probabilities.dtype)
        signed = torch.where(inside, -distance, distance)
        errors = probabilities - inside.to(probabilities.dtype)
        return mean_over_voxels(signed * errors, target.mask.to(probabilities.dtype))
