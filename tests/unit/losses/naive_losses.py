"""The losses again, in plain float64 loops over voxels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from medseg.contracts import IGNORE, Labels

CLASSES = Labels(names=("liver", "tumour"), values=((1,), (2,)))
REGIONS = Labels(names=("whole", "core"), values=((1, 2, 4), (1, 4)), overlapping=True)
KINDS = {"classes": CLASSES, "regions": REGIONS}


def is_target(labels: Labels, code: int, row: int) -> bool:
    if not labels.overlapping:
        return code == row
    atoms = sorted({v for values in labels.values for v in values})  # REGIONS: 1, 2, 4 -> codes 1, 2, 3
    return code > 0 and atoms[code - 1] in labels.values[row]


def probability(labels: Labels, logits: list[float], row: int) -> float:
    if labels.overlapping:
        return 1 / (1 + math.exp(-logits[row]))
    return math.exp(logits[row]) / sum(math.exp(v) for v in logits)


def voxels(logits: np.ndarray, label: np.ndarray, sample: int) -> Iterator[tuple[list[float], int]]:
    for where in np.ndindex(*logits.shape[2:]):
        code = int(label[(sample, 0, *where)])
        if code != IGNORE:
            yield [float(logits[(sample, k, *where)]) for k in range(logits.shape[1])], code


def overlap_loss(
    logits: np.ndarray,
    label: np.ndarray,
    labels: Labels,
    score: Callable[[float, float, float], float],
    *,
    background: bool,
    batch: bool,
) -> float:
    """The mean of ``1 - score(true positive, false positive, false negative)``."""
    samples = [[s] for s in range(len(logits))] if not batch else [list(range(len(logits)))]
    rows = range(0 if labels.overlapping or background else 1, logits.shape[1])
    found = []
    for group in samples:
        for row in rows:
            tp = fp = fn = 0.0
            for sample in group:
                for values, code in voxels(logits, label, sample):
                    p, t = probability(labels, values, row), float(is_target(labels, code, row))
                    tp, fp, fn = tp + p * t, fp + p * (1 - t), fn + (1 - p) * t
            found.append(1 - score(tp, fp, fn))
    return sum(found) / len(found)


def voxel_loss(
    logits: np.ndarray,
    label: np.ndarray,
    labels: Labels,
    cost: Callable[[float], float],
    weights: list[float] | None,
) -> float:
    """The weighted mean of the cost of the probability that the target got."""
    total = count = 0.0
    for sample in range(len(logits)):
        for values, code in voxels(logits, label, sample):
            rows = range(logits.shape[1]) if labels.overlapping else [code]
            for row in rows:
                hit = is_target(labels, code, row)
                # 1 - p of a large logit has no digits left: the sigmoid of its opposite has them all
                p = probability(labels, values if hit else [-v for v in values], row)
                weight = 1.0 if weights is None else weights[row]
                total, count = total + weight * cost(p), count + weight
    return total / count if count else 0.0
