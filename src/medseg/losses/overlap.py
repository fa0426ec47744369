"""Counting, softly, what prediction and target share: the sums that Dice and Tversky are made of."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from medseg.errors import UserError
from medseg.losses.target import Prepared


class Overlap(NamedTuple):
    """Sums over voxels per sample and row, ``(B, K)``, or over the whole batch, ``(1, K)``."""

    shared: Tensor
    predicted: Tensor
    target: Tensor


def compared_rows(prepared: Prepared, background: bool) -> tuple[Tensor, Tensor]:
    """Probabilities and bool targets ``(B, K, *S)`` of the rows that count; regions have no background."""
    first = 0 if background or prepared.labels.overlapping else 1
    return prepared.probabilities[:, first:], prepared.one_hot[:, first:]


def measure_overlap(prepared: Prepared, *, background: bool, batch: bool) -> Overlap:
    """The soft sizes of the intersection, of the prediction and of the target.

    Args:
        prepared: logits beside their target.
        background: whether class 0 is a row too; regions have none.
        batch: sum over the batch as if it were one large sample.
    """
    probabilities, one_hot = (rows.flatten(2) for rows in compared_rows(prepared, background))
    sums = (
        (probabilities * one_hot).sum(2),
        probabilities.sum(2),
        one_hot.sum(2, dtype=probabilities.dtype),
    )
    return Overlap(*(s.sum(0, keepdim=True) for s in sums)) if batch else Overlap(*sums)


def check_smooth(smooth: float) -> None:
    """Refuses what would divide zero by zero in an empty patch."""
    if smooth <= 0:
        raise UserError("loss.smooth", f"{smooth} is not positive", "give for example 1e-5")
