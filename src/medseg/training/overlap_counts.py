"""What the Dice over many patches is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.contracts import IGNORE, Labels


def overlap_counts(logits: Tensor, label: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
    """Per class or region the voxels shared, and those of both masks added up; ignored voxels left out.

    Args:
        logits: ``(B, K, *S)``.
        label: ``(B, 1, *S)`` codes.
        labels: what the codes mean.
    """
    counted = label[:, 0] != IGNORE
    best = None if labels.overlapping else logits.argmax(1)
    shared, sizes = [], []
    for row, codes in enumerate(labels.members):
        reference = torch.isin(label[:, 0], torch.tensor(codes, device=label.device)) & counted
        predicted = (logits[:, row] > 0 if best is None else best == row + 1) & counted
        shared.append((reference & predicted).sum())
        sizes.append(reference.sum() + predicted.sum())
    return torch.stack(shared).double(), torch.stack(sizes).double()
