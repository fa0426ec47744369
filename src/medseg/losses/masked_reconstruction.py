"""How far an image that was guessed is from the true one, where it was hidden."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Penalty = Literal["l1", "l2"]


def masked_reconstruction(predicted: Tensor, image: Tensor, hidden: Tensor, penalty: Penalty) -> Tensor:
    """The mean absolute or squared difference over hidden voxels alone; 0 where none is hidden.

    Args:
        predicted: ``(B, C, *S)``.
        image: ``(B, C, *S)``.
        hidden: ``(B, C, *S)`` bool.
        penalty: ``l1``, as in SimMIM (Xie 2022), or ``l2``, as in MAE (He 2022).
    """
    with torch.autocast(predicted.device.type, enabled=False):
        difference = (predicted.float() - image.float()).masked_fill(~hidden, 0)
        error = difference.abs() if penalty == "l1" else difference.square()
        return error.sum() / hidden.sum().clamp(min=1)
