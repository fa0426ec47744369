"""A mean with learned weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.fusion.opinions.mixture import mix
from medseg.fusion.presence import weigh


class LearnedOpinion(nn.Module):
    """``p_k`` proportional to ``sum of w_mk p_mk``, ``w_k = softmax over the present m of s_mk``.

    How far each modality is to be trusted for each class; starts as the mean.

    Args:
        modalities: ``M``.
        out_channels: ``K``.
        overlapping: regions (sigmoid) or exclusive classes (softmax).
    """

    def __init__(self, modalities: int, out_channels: int, overlapping: bool) -> None:
        super().__init__()
        self.overlapping = overlapping
        self.scores = nn.Parameter(torch.zeros(modalities, out_channels))

    def forward(self, logits: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, K, *S)`` and ``(B, M)`` bool -> ``(B, K, *S)`` float32 logits of ``p``."""
        scores = self.scores.float().expand(present.shape[0], -1, -1)
        shares = weigh(scores, present | ~present.any(1, keepdim=True))
        # an absent modality's share is 0: its logarithm is not read, but its gradient would be NaN
        log_shares = shares.clamp(min=torch.finfo(shares.dtype).tiny).log()
        return mix(logits, log_shares, present, self.overlapping)
