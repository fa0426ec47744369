"""The majority of hard decisions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.fusion.opinions.mean import MeanOpinion
from medseg.fusion.presence import broadcast, keep_each

_TIE = 0.5
"""The mean probability's part of one vote: below 1 it can never overturn a majority."""


class VoteOpinion(nn.Module):
    """Each modality that is there has one vote per voxel; a tie goes to the greater mean probability.

    ``p_k = (votes_k + mean_k / 2) / (n + 1 / 2)``. A vote has no gradient, so in training this is the mean
    of the probabilities, and voting happens in evaluation alone.

    Args:
        overlapping: regions (a vote on each) or exclusive classes (one vote for the best).
    """

    def __init__(self, overlapping: bool) -> None:
        super().__init__()
        self.overlapping = overlapping
        self.mean = MeanOpinion(overlapping)

    def forward(self, logits: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, K, *S)`` and ``(B, M)`` bool -> ``(B, K, *S)`` float32 logits of ``p``."""
        mean: Tensor = self.mean(logits, present)
        if self.training:
            return mean
        likely = mean.sigmoid() if self.overlapping else mean.softmax(1)
        votes = torch.stack(keep_each([self._vote(z) for z in logits], present)).sum(0)
        share = (votes + _TIE * likely) / (broadcast(present.sum(1), votes) + _TIE)
        return share.logit(eps=1e-6) if self.overlapping else share.clamp(min=1e-6).log()

    def _vote(self, logits: Tensor) -> Tensor:
        if self.overlapping:
            return (logits > 0).float()
        empty = torch.zeros_like(logits, dtype=torch.float32)
        return empty.scatter(1, logits.argmax(1, keepdim=True), 1.0)
