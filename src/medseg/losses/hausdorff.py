"""Hausdorff loss by distance transforms (Karimi and Salcudean 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.distance import DistanceTerm
from medseg.losses.overlap import compared_rows
from medseg.losses.target import Prepared
from medseg.losses.voxelwise import mean_over_voxels


class Hausdorff(DistanceTerm):
    """Mean over voxels and rows of ``(p - g) ** 2 * (d_p ** alpha + d_g ** alpha)``.

    ``d_g`` is the distance to the boundary of the reference, ``d_p`` to that of the prediction where
    ``p > 0.5`` (`distance_to_boundary`); no gradient goes through them. It is large while the
    prediction is far off: give it a small weight beside a region loss.

    Args:
        labels: what the codes mean.
        alpha: above 0; the larger, the more the farthest errors count. The paper takes 2.
        background: whether the background is a row too (regions have none).
        spacing: mm per voxel and axis of the patch; ``None`` for voxels. Training puts the plan's there.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        alpha: float = 2.0,
        background: bool = False,
        spacing: Sequence[float] | None = None,
    ) -> None:
        super().__init__(labels, spacing)
        if alpha <= 0:
            raise UserError("loss.alpha", f"{alpha} is not positive", "give for example 2.0")
        self.alpha, self.background = alpha, background

    def compare(self, target: Prepared) -> Tensor:
        """A scalar >= 0, in mm or voxels to the power of alpha."""
        probabilities, inside = compared_rows(target, self.background)
        fields = [
            self.distances(mask, target) ** self.alpha for mask in (probabilities.detach() > 0.5, inside)
        ]
        errors = probabilities - inside.to(probabilities.dtype)
        return mean_over_voxels(errors**2 * (fields[0] + fields[1]), target.mask.to(probabilities.dtype))
