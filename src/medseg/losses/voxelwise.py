"""The mean over the voxels that count."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.target import Prepared

Balance = Literal["balanced", "balanced_sqrt"]
ClassWeights = list[float] | Balance
"""One number per class with the background first, or per region; or a rule that training makes them by."""


def weigh_voxels(prepared: Prepared, class_weights: Tensor | None) -> Tensor:
    """The weight of each entry of `Prepared.log_likelihood`: 0 where ignored, else its class's or 1.

    Args:
        prepared: logits beside their target.
        class_weights: ``(K,)`` per row, or ``None`` for all alike.
    """
    mask = prepared.mask.to(prepared.logits.dtype)
    if class_weights is None:
        return mask
    weights = class_weights.to(mask.dtype)
    if prepared.labels.overlapping:
        return mask * weights.reshape(1, -1, *(1,) * (mask.ndim - 2))
    codes = prepared.label.masked_fill(~prepared.mask, 0).long()
    return mask * weights[codes]


def mean_over_voxels(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean, 0 where all weights are 0; weights may lack the rows of the values."""
    weights = weights.expand_as(values)
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def read_class_weights(class_weights: ClassWeights | None, labels: Labels) -> Tensor | None:
    """One weight per row as a tensor.

    Raises:
        UserError: unless there is one non-negative weight per row and one of them is positive; or for the
            name of a rule, which training replaces by numbers from the training cases' class sizes.
    """
    if class_weights is None:
        return None
    if isinstance(class_weights, str):
        problem = f"{class_weights} is made from a run's training cases and there are none here"
        raise UserError("loss.class_weights", problem, "give numbers")
    rows = labels.out_channels
    if len(class_weights) != rows or min(class_weights) < 0 or max(class_weights) <= 0:
        what = "one per region" if labels.overlapping else "the background's first"
        fix = f"give {rows} numbers >= 0 ({what}), not all zero"
        raise UserError("loss.class_weights", f"{list(class_weights)} does not fit", fix)
    return torch.tensor(class_weights, dtype=torch.float32)
