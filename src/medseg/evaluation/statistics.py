"""Tests and effect sizes for paired differences, one value per patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 300
"""Differences up to which the signed-rank distribution is enumerated; beyond it is as good as normal."""


@dataclass(frozen=True)
class SignedRank:
    """What the Wilcoxon signed-rank test says.

    Attributes:
        p: two-sided; 1 where nothing differs.
        rank_biserial: (W+ - W-) / (W+ + W-), from -1 to 1; 0 where nothing differs (Kerby 2014).
        n: differences, zeros included.
        n_zero: differences that are exactly zero.
    """

    p: float
    rank_biserial: float
    n: int
    n_zero: int


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Wilcoxon signed-rank test that the differences are symmetric about zero.

    Zeros are ranked and then dropped (Pratt 1959), ties take the mean rank, and the distribution of the
    rank sum under random signs is enumerated with those very ranks, so p is exact with ties and zeros too.

    Raises:
        ValueError: a difference is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("differences must be finite")
    # Sums of floats leave differences of 1e-17 where two methods agree: those are zeros, and ties are ties.
    values = np.round(values, 12)
    nonzero = values != 0
    if not nonzero.any():
        return SignedRank(1.0, 0.0, len(values), len(values))
    from scipy.stats import rankdata

    doubled = np.rint(2 * rankdata(np.abs(values))).astype(np.int64)[nonzero]
    positive, total = int(doubled[values[nonzero] > 0].sum()), int(doubled.sum())
    p = _exact_p(doubled, positive) if len(doubled) <= EXACT_UP_TO else _normal_p(doubled, positive)
    return SignedRank(p, (2 * positive - total) / total, len(values), int((~nonzero).sum()))


def _exact_p(doubled: NDArray[np.int64], positive: int) -> float:
    """The share of all 2^n sign patterns whose positive (doubled) rank sum lies as far out, both sides."""
    total = int(doubled.sum())
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    reached = 0
    for rank in doubled:
        step = int(rank)
        moved = chance[: reached + 1] / 2
        chance[: reached + 1] /= 2
        chance[step : step + reached + 1] += moved
        reached += step
    tail = chance[: min(positive, total - positive) + 1].sum()
    return float(min(1.0, 2 * tail))


def _normal_p(doubled: NDArray[np.int64], positive: int) -> float:
    ranks = doubled / 2
    z = (positive / 2 - ranks.sum() / 2) / math.sqrt(float((ranks**2).sum()) / 4)
    return math.erfc(abs(z) / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for all comparisons of a family, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def standardised_difference(differences: Sequence[float]) -> float | None:
    """Mean of the differences over their standard deviation (Cohen's d_z); ``None`` where that is zero."""
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return None
    spread = float(values.std(ddof=1))
    return float(values.mean()) / spread if spread > 1e-12 else None


@dataclass(frozen=True)
class Noise:
    """How far a mean moves when a method is trained again with other seeds.

    Attributes:
        variance: of the mean over all patients, as an average over the seeds that there are.
        freedom: degrees of freedom (Satterthwaite 1946).
        sd: standard deviation of the score of one training run per fold.
    """

    variance: float
    freedom: float
    sd: float


def training_noise(blocks: Sequence[tuple[float, Sequence[float]]]) -> Noise | None:
    """The noise of training, from the spread of trainings that were scored on the same patients.

    Args:
        blocks: per set of patients its share of all patients, and the mean score of each training that was
            scored on it: the seeds of one fold.

    Returns:
        ``None`` where a block has a single training, so that its noise cannot be known.
    """
    if not blocks or any(len(means) < 2 for _, means in blocks):
        return None
    parts = [(share**2 * float(np.var(means, ddof=1)), len(means)) for share, means in blocks]
    pooled = [(variance / n, n - 1) for variance, n in parts]
    total = sum(variance for variance, _ in pooled)
    return Noise(total, _freedom(pooled), math.sqrt(sum(variance for variance, _ in parts)))


def _freedom(parts: Sequence[tuple[float, float]]) -> float:
    """Of a sum of independent variances, each with its own degrees of freedom (Satterthwaite 1946)."""
    total = sum(variance for variance, _ in parts)
    squares = sum(variance**2 / freedom for variance, freedom in parts if variance > 0)
    return total**2 / squares if squares > 0 else sum(freedom for _, freedom in parts)


@dataclass(frozen=True)
class SeedTest:
    """A difference held against the patients and the trainings at once.

    Attributes:
        p: two-sided, from Student's t.
        interval: of the difference, for other patients and other seeds.
    """

    p: float
    interval: tuple[float, float]


def seed_test(
    difference: float, patient_variance: float, patients: int, noises: Sequence[Noise], confidence: float
) -> SeedTest:
    """Whether a difference is more than other patients or other seeds would make of it.

    Args:
        difference: of two means over the same patients.
        patient_variance: of that difference, over drawing patients again.
        patients: how many there are.
        noises: `training_noise` of either method.
        confidence: the coverage of the interval.
    """
    from scipy.stats import t

    parts = [(patient_variance, patients - 1.0), *((noise.variance, noise.freedom) for noise in noises)]
    error, freedom = math.sqrt(sum(variance for variance, _ in parts)), _freedom(parts)
    if error <= 1e-12:
        return SeedTest(1.0 if abs(difference) <= 1e-12 else 0.0, (difference, difference))
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * error
    return SeedTest(
        float(2 * t.sf(abs(difference) / error, freedom)), (difference - reach, difference + reach)
    )
