"""Intervals of a mean over patients: whole patients are drawn again, never single cases."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

_CHUNK = 512


def interval_of_mean(
    values: Mapping[str, Sequence[tuple[str, float]]], resamples: int, confidence: float, seed: int
) -> Interval | None:
    """Percentile interval of the unweighted mean over groups of the mean over cases.

    One group gives the interval of a plain mean; several (the labels) are drawn with the same
    patients, so that what a patient has in common across labels stays together (Efron 1979).

    Args:
        values: per group the ``(patient, finite value)`` of every case.
        resamples: how many times the patients are drawn, with replacement.
        confidence: the coverage, as 0.95.
        seed: the same seed and values give the same interval.

    Returns:
        The two bounds, or ``None`` where fewer than two patients or no resamples leave none to give.
    """
    means = resampled_means(values, resamples, seed)
    return None if means is None else percentile_interval(means, confidence)


def percentile_interval(means: NDArray[np.float64], confidence: float) -> Interval:
    """The middle share of the resampled means."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.nanquantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def resampled_means(
    values: Mapping[str, Sequence[tuple[str, float]]], resamples: int, seed: int
) -> NDArray[np.float64] | None:
    """The means behind `interval_of_mean`, one per resample; ``None`` where it would give none."""
    patients = sorted({patient for group in values.values() for patient, _ in group})
    if len(patients) < 2 or resamples < 1:
        return None
    place = {patient: row for row, patient in enumerate(patients)}
    sums, counts = np.zeros((2, len(patients), len(values)))
    for column, group in enumerate(values.values()):
        for patient, value in group:
            sums[place[patient], column] += value
            counts[place[patient], column] += 1
    return _resampled_means(sums, counts, resamples, seed)


def _resampled_means(
    sums: NDArray[np.float64], counts: NDArray[np.float64], resamples: int, seed: int
) -> NDArray[np.float64]:
    times = times_drawn(len(sums), resamples, seed)
    means = []
    for start in range(0, resamples, _CHUNK):
        weights = times[start : start + _CHUNK].astype(np.float64)
        with np.errstate(invalid="ignore"):
            group_means = weights @ sums / (weights @ counts)
            # A group that no drawn patient has says nothing in this resample; the others still do.
            known = np.isfinite(group_means)
            means.append(np.where(known, group_means, 0.0).sum(axis=1) / known.sum(axis=1))
    return np.concatenate(means)


@functools.lru_cache(maxsize=4)
def times_drawn(patients: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    """How often each resample holds each patient; a table of results asks for the same again and again."""
    generator = np.random.Generator(np.random.Philox(seed))
    return generator.multinomial(patients, np.full(patients, 1.0 / patients), size=resamples).astype(
        np.uint16
    )
