"""The product of experts (Hinton 2002)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.fusion.presence import keep_each


class ProductOpinion(nn.Module):
    """``p`` proportional to ``product of p_m`` over the modalities that are there: the sum of their logits.

    True for classes and for regions alike. One network that is sure of a "no" has a veto.
    """

    def forward(self, logits: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, K, *S)`` and ``(B, M)`` bool -> ``(B, K, *S)`` float32."""
        return torch.stack([z.float() for z in keep_each(logits, present)]).sum(0)
