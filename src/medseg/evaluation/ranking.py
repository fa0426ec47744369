"""How stable the order of methods is: it is made again with other patients and other trainings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.bootstrap import Interval, percentile_interval, times_drawn
from medseg.evaluation.methods import Cell, Scores

_CHUNK = 1000


@dataclass(frozen=True)
class Standing:
    """The rank of one method over the resamples, 1 for the best.

    Attributes:
        mean: the mean rank; equal methods share theirs.
        interval: its percentile interval.
        first: the share of the resamples in which it is first; shared where several are.
    """

    mean: float
    interval: Interval
    first: float


def ranking(
    scores: Mapping[str, Scores], higher_is_better: bool, resamples: int, confidence: float, seed: int
) -> dict[str, Standing]:
    """Ranks the methods on the cells where all of them give a number.

    Whole patients are drawn again, the same for all methods; of a method with several trainings on the same
    cases, trainings are drawn again too (Wiesenfarth et al., Scientific Reports 11:2369, 2021).

    Returns:
        Method -> its standing; nothing where fewer than two methods, two patients or one resample are there.
    """
    cells = set.intersection(*(set(own.values) for own in scores.values())) if scores else set()
    patients = sorted({own.patients[case] for own in scores.values() for case, _ in cells})
    if len(scores) < 2 or len(patients) < 2 or resamples < 1:
        return {}
    times = times_drawn(len(patients), resamples, seed)
    labels = next(iter(scores.values())).labels
    place = {patient: row for row, patient in enumerate(patients)}
    means = np.stack(
        [
            _means(own, cells, labels, place, times, np.random.Generator(np.random.Philox([seed, 1, index])))
            for index, own in enumerate(scores.values())
        ],
        axis=1,
    )
    ranks = _ranks(-means if higher_is_better else means)
    best = ranks == ranks.min(axis=1, keepdims=True)
    first = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return {
        name: Standing(
            float(ranks[:, k].mean()), percentile_interval(ranks[:, k], confidence), float(first[k])
        )
        for k, name in enumerate(scores)
    }


def _means(
    own: Scores,
    cells: set[Cell],
    labels: Sequence[str],
    place: Mapping[str, int],
    times: NDArray[np.uint16],
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """The mean over labels of one method, one per resample ``(R,)``."""
    sums = np.zeros((len(times), len(labels)))
    counts = np.zeros_like(sums)
    blocks: dict[frozenset[str], list[Mapping[Cell, float]]] = defaultdict(list)
    for training in own.trainings:
        blocks[frozenset(case for case, _ in training)].append(training)
    for trainings in blocks.values():
        share = np.full(len(trainings), 1 / len(trainings))
        drawn = generator.multinomial(len(trainings), share, size=len(times)) / len(trainings)
        for column, training in enumerate(trainings):
            value, count = np.zeros((2, len(place), len(labels)))
            for (case, label), number in training.items():
                if (case, label) in cells:
                    at = place[own.patients[case]], labels.index(label)
                    value[at] += number
                    count[at] += 1
            for start in range(0, len(times), _CHUNK):
                rows = slice(start, start + _CHUNK)
                weights = times[rows].astype(np.float64)
                sums[rows] += drawn[rows, column, None] * (weights @ value)
                counts[rows] += drawn[rows, column, None] * (weights @ count)
    with np.errstate(invalid="ignore"):
        group = sums / counts
    known = np.isfinite(group)
    means: NDArray[np.float64] = np.where(known, group, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return means


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row by row, the smallest first; equal values share the mean of their ranks."""
    rounded = np.round(values, 12)
    less = (rounded[:, None, :] < rounded[:, :, None]).sum(axis=2)
    equal = (rounded[:, None, :] == rounded[:, :, None]).sum(axis=2)
    ranks: NDArray[np.float64] = less + (equal + 1) / 2
    return ranks
