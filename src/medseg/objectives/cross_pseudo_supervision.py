"""Cross pseudo supervision (Chen 2021): two networks that teach each other."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Progress
from medseg.objectives.beliefs import cross_entropy, hardened, probabilities
from medseg.objectives.semi_supervised import SemiSupervised, together


class CrossPseudoSupervision(SemiSupervised):
    """Each network learns the labels, and on both streams what the other believes.

    The second network is a copy with other initial weights: every layer that can draws its own anew, from
    torch's generator at attachment. It is trained by the same optimizer at its full rate; the first is
    published.

    Args:
        loss: of the labelled stream.
        weight: of the cross-entropy against the other's beliefs, once it has grown.
        ramp_up: share of the training in which it grows.
        confidence: voxels count where the other gives its belief at least this probability.
        deep_supervision: of the labelled loss.
        decay: how much each coarser level weighs against the finer one.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        weight: float = 0.1,
        ramp_up: float = 0.4,
        confidence: float = 0.0,
        deep_supervision: bool = True,
        decay: float = 0.5,
    ) -> None:
        super().__init__(loss, weight=weight, ramp_up=ramp_up, deep_supervision=deep_supervision, decay=decay)
        self.confidence = confidence
        self.second: nn.Module | None = None

    def attach(self, network: nn.Module) -> None:
        """Makes the second network."""
        second = copy.deepcopy(network).requires_grad_(True)
        for part in second.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
        self.second = second

    def terms(
        self, network: nn.Module, labelled: Batch, unlabelled: Batch, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """Both losses, and both cross-entropies; the sums, as in the paper."""
        assert self.second is not None
        image, present = together(labelled, unlabelled)
        answers = [network(image, present), self.second(image, present)]
        first = torch.stack([self.labelled_loss(logits, labelled) for logits in answers]).sum()
        beliefs = [hardened(probabilities(each[0].detach(), self.labels), self.labels) for each in answers]
        second = torch.stack(
            [
                cross_entropy(mine[0], rows, (sure >= self.confidence).float(), self.labels)
                for mine, (rows, sure) in zip(answers, reversed(beliefs), strict=True)
            ]
        ).sum()
        return first, second
