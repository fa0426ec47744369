"""Cross-entropy of the hardest voxels alone (Wu 2016; nnU-Net's TopK)."""

from __future__ import annotations

from torch import Tensor

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm


class TopK(LossTerm):
    """Mean of the largest ``k`` percent of the cross-entropies of a batch; for regions over these too.

    Args:
        labels: what the codes mean.
        k: percent of the voxels that count, above 0; at least one voxel is taken. 100 is cross-entropy.
    """

    def __init__(self, labels: Labels, *, k: float = 10.0) -> None:
        super().__init__(labels)
        if not 0 < k <= 100:
            raise UserError("loss.k", f"{k} percent is outside (0, 100]", "give for example 10")
        self.k = k

    def compare(self, target: Prepared) -> Tensor:
        """A scalar >= 0."""
        costs = -target.log_likelihood
        # An ignored voxel costs 0, and so does no voxel that counts: the largest are never ignored ones.
        counted = int(target.mask.sum()) * costs.shape[1]
        return costs.flatten().topk(max(1, int(counted * self.k / 100)), sorted=False).values.mean()
