"""The weighted mean of probabilities, told as logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medseg.fusion.presence import broadcast, keep_each


def mix(logits: Sequence[Tensor], log_weights: Tensor, present: Tensor, overlapping: bool) -> Tensor:
    """Logits of the mixture ``sum of w_m p_m`` over the present modalities, in float32.

    ``p_m`` is the softmax over classes, or per region the sigmoid. All is done on logarithms, so that
    confident networks keep their gradient. A row without any modality gets equal probabilities.

    Args:
        logits: ``M`` tensors ``(B, K, *S)``.
        log_weights: ``(B, M, K)``; those of absent modalities are not read.
        present: ``(B, M)`` bool.
        overlapping: regions (sigmoid) or exclusive classes (softmax).
    """
    stacked = torch.stack([z.float() for z in keep_each(logits, present)], dim=1)
    counted = present | ~present.any(1, keepdim=True)
    absent = ~broadcast(counted, log_weights)
    shares = broadcast(log_weights.float().masked_fill(absent, torch.finfo(torch.float32).min), stacked)
    if not overlapping:
        return (shares + stacked.log_softmax(2)).logsumexp(1)
    inside = (shares + functional.logsigmoid(stacked)).logsumexp(1)
    outside = (shares + functional.logsigmoid(-stacked)).logsumexp(1)
    return inside - outside


def even_log_weights(present: Tensor, channels: int) -> Tensor:
    """``(B, M, K)``: every present modality counts the same."""
    even = -present.sum(1, keepdim=True).clamp(min=1).float().log()
    return even[:, :, None].expand(-1, present.shape[1], channels)
