"""Cross-entropy: over classes, or binary for each region."""

from __future__ import annotations

from torch import Tensor

from medseg.contracts import Labels
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm
from medseg.losses.voxelwise import ClassWeights, mean_over_voxels, read_class_weights, weigh_voxels


class CrossEntropy(LossTerm):
    """Mean over voxels of minus the log-probability of the target; for regions over these too.

    Args:
        labels: what the codes mean.
        class_weights: per class with the background first, or per region, whose inside and outside weigh
            alike; the mean is weighted. Or a rule for training to make them by, see `ClassWeights`.
    """

    class_weights: Tensor | None

    def __init__(self, labels: Labels, *, class_weights: ClassWeights | None = None) -> None:
        super().__init__(labels)
        self.register_buffer("class_weights", read_class_weights(class_weights, labels), persistent=False)

    def compare(self, target: Prepared) -> Tensor:
        """A scalar >= 0."""
        return mean_over_voxels(-target.log_likelihood, weigh_voxels(target, self.class_weights))
