"""What a network believes of each voxel, and losses against beliefs instead of labels.

``K`` rows are the classes with the background first, or one per overlapping region, as everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medseg.contracts import Labels


def probabilities(logits: Tensor, labels: Labels) -> Tensor:
    """``(B, K, *S)`` float32: softmax over classes, or sigmoid per region."""
    logits = logits.float()
    return logits.sigmoid() if labels.overlapping else logits.softmax(1)


def entropy(logits: Tensor, labels: Labels) -> Tensor:
    """``(B, 1, *S)`` in nats per voxel; of regions the mean over them."""
    logits = logits.float()
    if not labels.overlapping:
        log = logits.log_softmax(1)
        return -(log.exp() * log).sum(1, keepdim=True)
    inside, outside = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return -(inside.exp() * inside + outside.exp() * outside).mean(1, keepdim=True)


def hardened(beliefs: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
    """Probabilities ``(B, K, *S)`` -> the believed rows, 0 or 1, and how sure that is.

    Returns:
        ``(B, K, *S)`` float32, and the probability of what is believed: ``(B, 1, *S)``, for regions
        ``(B, K, *S)``.
    """
    if labels.overlapping:
        return (beliefs > 0.5).to(beliefs.dtype), torch.maximum(beliefs, 1 - beliefs)
    sure, best = beliefs.max(1, keepdim=True)
    return torch.zeros_like(beliefs).scatter_(1, best, 1.0), sure


def cross_entropy(logits: Tensor, rows: Tensor, weight: Tensor, labels: Labels) -> Tensor:
    """The mean over all voxels of ``weight`` times the cross-entropy against ``rows`` in [0, 1].

    Args:
        logits: ``(B, K, *S)``.
        rows: ``(B, K, *S)``, what is believed.
        weight: ``(B, 1, *S)``, or per region ``(B, K, *S)``.
        labels: classes or regions.
    """
    logits = logits.float()
    if labels.overlapping:
        each = functional.binary_cross_entropy_with_logits(logits, rows, reduction="none")
    else:
        each = -(rows * logits.log_softmax(1)).sum(1, keepdim=True)
    return (each * weight).mean()
