"""Boundary loss (Kervadec 2019): errors cost as much as they are far from the reference's boundary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.contracts import Labels
from medseg.losses.distance import DistanceTerm
from medseg.losses.overlap import compared_rows
from medseg.losses.target import Prepared
from medseg.losses.voxelwise import mean_over_voxels


class Boundary(DistanceTerm):
    """Mean over voxels and rows of ``signed distance * (p - g)``, the distance negative inside the reference.

    The ``- g``, which the paper drops, changes no gradient and puts the minimum at 0, where ``p`` is the
    reference. Distances are those of `distance_to_boundary`. A row without a boundary in the patch says
    nothing: combine this with a region loss, as the paper does.

    Args:
        labels: what the codes mean.
        background: whether the background is a row too (regions have none).
        spacing: mm per voxel and axis of the patch; ``None`` for voxels. Training puts the plan's there.
    """

    def __init__(
        self, labels: Labels, *, background: bool = False, spacing: Sequence[float] | None = None
    ) -> None:
        super().__init__(labels, spacing)
        self.background = background

    def compare(self, target: Prepared) -> Tensor:
        """A scalar >= 0, in mm or voxels."""
        probabilities, inside = compared_rows(target, self.background)
        distance = self.distances(inside, target)
        signed = torch.where(inside, -distance, distance)
        errors = probabilities - inside.to(probabilities.dtype)
        return mean_over_voxels(signed * errors, target.mask.to(probabilities.dtype))
