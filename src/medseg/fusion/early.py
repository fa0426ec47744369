"""Early fusion: the modalities are the channels of one image."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from medseg.contracts import Architecture


class EarlyFusion(nn.Module):
    """All modalities into one network; what a case lacks is zero, the mean of a normalised image.

    Args:
        architecture: makes the network.
        modalities: ``M``.
        out_channels: ``K``.
        deep_supervision: whether training gets coarser logits too.
    """

    NEEDS_MODULAR: ClassVar[bool] = False

    def __init__(
        self, architecture: Architecture, modalities: int, out_channels: int, deep_supervision: bool
    ) -> None:
        super().__init__()
        self.network = architecture.whole(modalities, out_channels, deep_supervision)

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        """``(B, M, *S)`` and ``(B, M)`` bool -> logits ``(B, K, *S)``, then coarser ones in training."""
        if present is not None:
            there = present.reshape(present.shape + (1,) * (image.ndim - 2))
            # chosen, not multiplied: whatever fills an absent modality, NaN too, has no effect
            image = torch.where(there, image, torch.zeros((), dtype=image.dtype, device=image.device))
        logits: tuple[Tensor, ...] = self.network(image)
        return logits
