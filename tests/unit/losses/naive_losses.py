"""The losses again, in plain float64 loops over voxels."""

from __future__ import annotations

import itertools
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


def rows_of(
    logits: np.ndarray, label: np.ndarray, labels: Labels, background: bool
) -> Iterator[tuple[int, dict[tuple[int, ...], tuple[float, float]]]]:
    """Sample by sample, row by row: the voxels that count, each with its probability and its target."""
    for sample in range(len(logits)):
        for row in range(0 if labels.overlapping or background else 1, logits.shape[1]):
            found = {}
            for where in np.ndindex(*logits.shape[2:]):
                if (code := int(label[(sample, 0, *where)])) != IGNORE:
                    values = [float(logits[(sample, k, *where)]) for k in range(logits.shape[1])]
                    target = float(is_target(labels, code, row))
                    found[where] = probability(labels, values, row), target
            yield sample, found


def distances(
    inside: dict[tuple[int, ...], bool], spacing: tuple[float, ...] | None = None
) -> dict[tuple[int, ...], float]:
    """To the nearest voxel of the other side, in voxels or mm, 0 where there is none."""

    def apart(here: tuple[int, ...], there: tuple[int, ...]) -> float:
        steps = spacing or (1.0,) * len(here)
        return math.sqrt(sum((s * (a - b)) ** 2 for s, a, b in zip(steps, here, there, strict=True)))

    return {
        here: min((apart(here, there) for there, other in inside.items() if other != side), default=0.0)
        for here, side in inside.items()
    }


def distance_loss(
    logits: np.ndarray,
    label: np.ndarray,
    labels: Labels,
    cost: Callable[[float, float, float, float], float],
    *,
    background: bool,
    spacing: tuple[float, ...] | None = None,
) -> float:
    """The mean of ``cost(p, g, distance to the prediction's boundary, distance to the reference's)``."""
    found = []
    for _, voxels_ in rows_of(logits, label, labels, background):
        predicted = distances({where: p > 0.5 for where, (p, _) in voxels_.items()}, spacing)
        reference = distances({where: g > 0.5 for where, (_, g) in voxels_.items()}, spacing)
        found += [cost(p, g, predicted[where], reference[where]) for where, (p, g) in voxels_.items()]
    return sum(found) / len(found) if found else 0.0


def generalised_dice(
    logits: np.ndarray,
    label: np.ndarray,
    labels: Labels,
    *,
    power: int,
    background: bool,
    batch: bool,
    smooth: float,
) -> float:
    groups: dict[int, list[list[tuple[float, float]]]] = {}
    count = logits.shape[1] - (0 if labels.overlapping or background else 1)
    for number, (sample, voxels_) in enumerate(rows_of(logits, label, labels, background)):
        rows = groups.setdefault(0 if batch else sample, [[] for _ in range(count)])
        rows[number % count] += voxels_.values()
    found = []
    for rows in groups.values():
        volumes = [sum(g for _, g in row) for row in rows]
        least = min([v for v in volumes if v], default=1.0)
        weights = [(least / v) ** power if v else 1.0 for v in volumes]
        shared = sum(w * p * g for w, row in zip(weights, rows, strict=True) for p, g in row)
        both = sum(w * (p + g) for w, row in zip(weights, rows, strict=True) for p, g in row)
        found.append(1 - (2 * shared + smooth) / (both + smooth))
    return sum(found) / len(found)


Mask = dict[tuple[int, ...], float]


def _neighbours(where: tuple[int, ...], reach: int) -> Iterator[tuple[int, ...]]:
    """Steps of at most one per axis, along at most ``reach`` axes at once; itself is one of them."""
    for step in itertools.product((-1, 0, 1), repeat=len(where)):
        if sum(map(abs, step)) <= reach:
            yield tuple(a + b for a, b in zip(where, step, strict=True))


def _eroded(mask: Mask) -> Mask:
    return {w: min(mask[n] for n in _neighbours(w, 1) if n in mask) for w in mask}


def _opened(mask: Mask) -> Mask:
    small = _eroded(mask)
    return {w: max(small[n] for n in _neighbours(w, len(w)) if n in small) for w in mask}


def skeleton(mask: Mask, iterations: int) -> Mask:
    """As in Shit 2021, algorithm 1, with the union of soft masks as in the authors' code."""
    opened = _opened(mask)
    found = {w: max(mask[w] - opened[w], 0) for w in mask}
    for _ in range(iterations):
        mask = _eroded(mask)
        opened = _opened(mask)
        for w in mask:
            ridge = max(mask[w] - opened[w], 0)
            found[w] += max(ridge - found[w] * ridge, 0)
    return found


def cldice_loss(
    logits: np.ndarray, label: np.ndarray, labels: Labels, *, iterations: int, background: bool, smooth: float
) -> float:
    """The mean of one minus clDice; ignored voxels are 0 in both masks."""
    found = []
    for _, voxels_ in rows_of(logits, label, labels, background):
        masks: list[Mask] = [
            {w: voxels_.get(w, (0.0, 0.0))[side] for w in np.ndindex(*logits.shape[2:])} for side in (0, 1)
        ]
        shares = []
        for own, other in (masks, masks[::-1]):
            line = skeleton(own, iterations)
            covered = sum(line[w] * other[w] for w in line)
            shares.append((covered + smooth) / (sum(line.values()) + smooth))
        found.append(1 - 2 * shares[0] * shares[1] / (shares[0] + shares[1]))
    return sum(found) / len(found)


def top_k_loss(
    logits: np.ndarray, label: np.ndarray, labels: Labels, k: float, weights: list[float] | None = None
) -> float:
    """The weighted mean of the largest weighted costs."""
    costs = []
    for sample in range(len(logits)):
        for values, code in voxels(logits, label, sample):
            for row in range(logits.shape[1]) if labels.overlapping else [code]:
                hit = is_target(labels, code, row)
                weight = 1.0 if weights is None else weights[row]
                cost = -math.log(probability(labels, values if hit else [-v for v in values], row))
                costs.append((weight * cost, weight))
    hardest = sorted(costs, reverse=True)[: max(1, math.floor(len(costs) * k / 100))]
    return sum(c for c, _ in hardest) / sum(w for _, w in hardest) if hardest else 0.0
