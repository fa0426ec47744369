"""Which modalities a case has, and how what it lacks is kept out.

What fills an absent modality is chosen away and never multiplied by zero: a NaN would survive that, in
the output or in the gradient of a weight that it met.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def all_present(image: Tensor) -> Tensor:
    """``(B, M)`` bool for ``(B, M, C, *S)``: nothing is missing."""
    return torch.ones(image.shape[:2], dtype=torch.bool, device=image.device)


def apart(image: Tensor, modalities: int) -> Tensor:
    """``(B, M * C, *S)`` -> ``(B, M, C, *S)``: C neighbouring slices of each modality, 1 but in 2.5D."""
    return torch.unflatten(image, 1, (modalities, -1))


def keep_present(image: Tensor, present: Tensor) -> Tensor:
    """``(B, M, C, *S)`` with zeros wherever ``present`` ``(B, M)`` is false."""
    return image.masked_fill(~broadcast(present, image), 0)


def keep_each(features: Sequence[Tensor], present: Tensor) -> list[Tensor]:
    """``M`` tensors ``(B, C, *S)``, each with zeros in the rows that lack its modality."""
    return [f.masked_fill(~broadcast(present[:, m], f), 0) for m, f in enumerate(features)]


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """``values`` ``(B,)``, ``(B, M)`` or ``(B, M, K)`` with ones behind, to meet a tensor of more axes."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def count_present(present: Tensor, like: Tensor) -> Tensor:
    """``(B, 1, ..)``: the modalities of each row, at least 1, so that it can divide."""
    return broadcast(present.sum(1).clamp(min=1), like)


def weigh(scores: Tensor, present: Tensor) -> Tensor:
    """``(B, M, ..)`` scores -> weights that add up to 1 over the present modalities, 0 for the others.

    A row without any modality gets equal weights: finite, for what it weighs is zero.
    """
    absent = ~broadcast(present, scores)
    return scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(1)


def one_by_one(image: Tensor) -> Tensor:
    """``(B, M, C, *S)`` -> ``(M * B, C, *S)``, so that one network sees every modality in one call."""
    return image.transpose(0, 1).flatten(0, 1)


def split_again(features: Tensor, modalities: int) -> list[Tensor]:
    """``(M * B, C, *S)`` -> ``M`` tensors ``(B, C, *S)``, in the memory layout they had."""
    return list(torch.unflatten(features, 0, (modalities, -1)).unbind(0))
