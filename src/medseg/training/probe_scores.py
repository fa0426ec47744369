"""How much of the labels can be read from features by a rule so simple that it learns nothing else."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medseg.contracts import IGNORE


def nearest_neighbours(known: Tensor, codes: Tensor, asked: Tensor, count: int = 10) -> Tensor:
    """The vote of the most similar rows, by cosine similarity; on a tie the lowest code.

    Args:
        known: ``(N, F)`` features.
        codes: ``(N,)`` int64, of the known rows.
        asked: ``(Q, F)``.
        count: who votes, fewer where there are fewer.

    Returns:
        ``(Q,)`` codes.
    """
    likeness = functional.normalize(asked, dim=1) @ functional.normalize(known, dim=1).t()
    voters = likeness.topk(min(count, len(known)), dim=1).indices
    return functional.one_hot(codes)[voters].sum(1).argmax(1)


def linear(known: Tensor, codes: Tensor, asked: Tensor, ridge: float = 0.01) -> Tensor:
    """The codes by the best linear map onto one-hot codes, with a bias and a ridge penalty."""
    ones = torch.ones(len(known), 1, dtype=torch.float64)
    rows = torch.cat([known.double(), ones], dim=1)
    penalty = ridge * len(rows) * torch.eye(rows.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 1e-9  # none on the bias
    weights = torch.linalg.solve(rows.t() @ rows + penalty, rows.t() @ functional.one_hot(codes).double())
    answers: Tensor = asked.double() @ weights[:-1] + weights[-1]
    return answers.argmax(1)


def mean_dice(found: Tensor, codes: Tensor) -> float:
    """Over the foreground codes that occur in ``codes``; NaN where none does."""
    scores = []
    for code in sorted({*codes.tolist()} - {0}):
        mine, his = found == code, codes == code
        scores.append(2 * float((mine & his).sum()) / float(mine.sum() + his.sum()))
    return sum(scores) / len(scores) if scores else float("nan")


def choose_voxels(label: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``(K, axes)``: up to ``count`` voxels of every code in ``label`` ``(*S)``, ignored ones left out."""
    chosen = []
    for code in torch.bincount(label.flatten()).nonzero()[:, 0].tolist():
        if code != IGNORE:
            places = (label == code).nonzero()
            chosen.append(places[torch.randperm(len(places), generator=generator)[:count]])
    return torch.cat(chosen) if chosen else torch.zeros(0, label.ndim, dtype=torch.int64)
