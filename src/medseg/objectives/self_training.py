"""The references: minimal entropy (Grandvalet and Bengio 2004) and plain pseudo-labels (Lee 2013)."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Progress
from medseg.errors import UserError
from medseg.objectives.beliefs import cross_entropy, entropy, hardened, probabilities
from medseg.objectives.semi_supervised import SemiSupervised, together


class EntropyMinimisation(SemiSupervised):
    """The answer to unlabelled patches is to be sure, whatever it is.

    Args:
        loss: of the labelled stream.
        weight: of the mean entropy in nats, once it has grown.
        ramp_up: share of the training in which it grows.
        deep_supervision: of the labelled loss.
        decay: how much each coarser level weighs against the finer one.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        weight: float = 0.1,
        ramp_up: float = 0.4,
        deep_supervision: bool = True,
        decay: float = 0.5,
    ) -> None:
        super().__init__(loss, weight=weight, ramp_up=ramp_up, deep_supervision=deep_supervision, decay=decay)

    def terms(
        self, network: nn.Module, labelled: Batch, unlabelled: Batch, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """The labelled loss and the entropy."""
        logits: tuple[Tensor, ...] = network(*together(labelled, unlabelled))
        unsure = entropy(logits[0][len(labelled.image) :], self.labels)
        return self.labelled_loss(logits, labelled), unsure.mean()


class PseudoLabels(SemiSupervised):
    """What the network believes of unlabelled patches, where it is sure, counts as their label.

    Args:
        loss: of the labelled stream.
        weight: of the cross-entropy against the beliefs, once it has grown.
        ramp_up: share of the training in which it grows.
        confidence: voxels count where the belief has at least this probability.
        deep_supervision: of the labelled loss.
        decay: how much each coarser level weighs against the finer one.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        weight: float = 1.0,
        ramp_up: float = 0.4,
        confidence: float = 0.95,
        deep_supervision: bool = True,
        decay: float = 0.5,
    ) -> None:
        super().__init__(loss, weight=weight, ramp_up=ramp_up, deep_supervision=deep_supervision, decay=decay)
        if not 0 <= confidence < 1:
            problem = f"{confidence} is outside [0, 1)"
            raise UserError("objective.confidence", problem, "give for example 0.95")
        self.confidence = confidence

    def terms(
        self, network: nn.Module, labelled: Batch, unlabelled: Batch, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """The labelled loss and the cross-entropy."""
        logits: tuple[Tensor, ...] = network(*together(labelled, unlabelled))
        mine = logits[0][len(labelled.image) :]
        rows, sure = hardened(probabilities(mine.detach(), self.labels), self.labels)
        second = cross_entropy(mine, rows, (sure >= self.confidence).float(), self.labels)
        return self.labelled_loss(logits, labelled), second
