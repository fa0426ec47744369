"""The mean of the probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.fusion.opinions.mixture import even_log_weights, mix


class MeanOpinion(nn.Module):
    """``p = mean of p_m`` over the modalities that are there: soft voting.

    Args:
        overlapping: regions (sigmoid) or exclusive classes (softmax).
    """

    def __init__(self, overlapping: bool) -> None:
        super().__init__()
        self.overlapping = overlapping

    def forward(self, logits: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, K, *S)`` and ``(B, M)`` bool -> ``(B, K, *S)`` float32 logits of ``p``."""
        weights = even_log_weights(present, logits[0].shape[1])
        return mix(logits, weights, present, self.overlapping)
