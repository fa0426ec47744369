"""The one place that turns logits and label codes into what losses compare.

Softmax or sigmoid, one-hot rows, regions and ignored voxels are dealt with here and nowhere else.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from medseg.contracts import IGNORE, Labels
from medseg.errors import UserError


class Prepared:
    """Logits beside their target; each view is made when a loss first asks for it, and shared.

    ``K`` rows are the classes with background first, or one per region. All is float32 (float64 if
    the logits are), whatever autocast says.

    Args:
        logits: ``(B, K, *S)``.
        label: ``(B, 1, *S)`` codes.
        labels: what the codes mean.
    """

    def __init__(self, logits: Tensor, label: Tensor, labels: Labels) -> None:
        if logits.shape[1] != labels.out_channels or label.shape != (logits.shape[0], 1, *logits.shape[2:]):
            shapes = f"logits {tuple(logits.shape)} and label {tuple(label.shape)}"
            fix = "give logits (B, K, *S) and a label (B, 1, *S)"
            raise UserError("loss", f"{shapes} do not fit {labels.out_channels} rows", fix)
        self.logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        self.label = label
        self.labels = labels

    @cached_property
    def mask(self) -> Tensor:
        """``(B, 1, *S)`` bool: the voxels that count."""
        return self.label != IGNORE

    @cached_property
    def one_hot(self) -> Tensor:
        """``(B, K, *S)`` bool: the target per row, ``False`` where ignored."""
        if not self.labels.overlapping:
            codes = torch.arange(self.labels.out_channels, device=self.label.device, dtype=self.label.dtype)
            return self.label == codes.reshape(1, -1, *(1,) * (self.label.ndim - 2))
        rows = []
        for members in self.labels.members:
            row = torch.zeros_like(self.label, dtype=torch.bool)
            for code in members:
                row |= self.label == code
            rows.append(row)
        return torch.cat(rows, dim=1)

    @cached_property
    def probabilities(self) -> Tensor:
        """``(B, K, *S)``: softmax over classes or sigmoid per region; zero where ignored."""
        if self.labels.overlapping:
            return self.logits.sigmoid().masked_fill(~self.mask, 0.0)
        return self._log_softmax.exp().masked_fill(~self.mask, 0.0)

    @cached_property
    def log_likelihood(self) -> Tensor:
        """Log-probability of the target, zero where ignored: ``(B, 1, *S)``, for regions ``(B, K, *S)``."""
        if self.labels.overlapping:
            signed = torch.where(self.one_hot, self.logits, -self.logits)
            return functional.logsigmoid(signed).masked_fill(~self.mask, 0.0)
        codes = self.label.masked_fill(~self.mask, 0).long()
        return self._log_softmax.gather(1, codes).masked_fill(~self.mask, 0.0)

    @cached_property
    def _log_softmax(self) -> Tensor:
        return functional.log_softmax(self.logits, dim=1)


def prepare(logits: Tensor, label: Tensor, labels: Labels) -> Prepared:
    """Logits ``(B, K, *S)`` and codes ``(B, 1, *S)``, ready to be compared."""
    return Prepared(logits, label, labels)
