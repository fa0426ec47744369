"""Cross-entropy of the hardest voxels alone (Wu 2016; nnU-Net's TopK)."""

from __future__ import annotations

from torch import Tensor

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm
from medseg.losses.voxelwise import ClassWeights, mean_over_voxels, read_class_weights, weigh_voxels


class TopK(LossTerm):
    """Mean of the largest ``k`` percent of the cross-entropies of a batch; for regions over these too.

    Args:
        labels: what the codes mean.
        k: percent of the voxels that count, above 0; at least one voxel is taken. 100 is cross-entropy.
        class_weights: as of the cross-entropy; the largest weighted costs are taken, and their mean is
            weighted.
    """

    class_weights: Tensor | None

    def __init__(self, labels: Labels, *, k: float = 10.0, class_weights: ClassWeights | None = None) -> None:
        super().__init__(labels)
        if not 0 < k <= 100:
            raise UserError("loss.k", f"{k} percent is outside (0, 100]", "give for example 10")
        self.k = k
        self.register_buffer("class_weights", read_class_weights(class_weights, labels), persistent=False)

    def compare(self, target: Prepared) -> Tensor:
        """A scalar >= 0."""
        costs = -target.log_likelihood
        weights = weigh_voxels(target, self.class_weights).expand_as(costs)
        # below every cost: an ignored voxel is never taken before one that counts
        ranked = (costs * weights).detach().masked_fill(~target.mask, -1.0).flatten()
        counted = int(target.mask.sum()) * costs.shape[1]
        hardest = ranked.topk(max(1, int(counted * self.k / 100)), sorted=False).indices
        return mean_over_voxels(costs.flatten()[hardest], weights.flatten()[hardest])
