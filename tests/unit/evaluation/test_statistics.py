"""Tests and effect sizes held against scipy, published examples and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.evaluation.statistics import (
    Noise,
    holm,
    seed_test,
    signed_rank,
    standardised_difference,
    training_noise,
)

FINITE = st.floats(-1, 1, allow_nan=False).map(lambda value: round(value, 3))


@pytest.mark.parametrize(("n", "seed"), [(6, 0), (12, 1), (30, 2), (50, 3)])
def test_the_exact_p_is_that_of_scipy(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.3, 1, n)
    expected = scipy.stats.wilcoxon(values, mode="exact").pvalue
    assert signed_rank(values).p == pytest.approx(expected, rel=1e-12)


def test_a_large_sample_has_the_p_of_scipys_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(0.08, 1, 500)
    expected = scipy.stats.wilcoxon(values, mode="approx", correction=False).pvalue
    assert signed_rank(values).p == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.4]), min_size=1, max_size=9))
def test_ties_and_zeros_give_the_p_of_all_sign_patterns(values: list[float]) -> None:
    """Pratt's ranks, every pattern of signs written out."""
    ranks = scipy.stats.rankdata(np.abs(np.round(values, 12)))
    ranks = [rank for rank, value in zip(ranks, values, strict=True) if value != 0]
    found = signed_rank(values)
    if not ranks:
        assert (found.p, found.rank_biserial) == (1.0, 0.0)
        return
    total = sum(ranks)
    positive = sum(r for r, v in zip(ranks, [v for v in values if v != 0], strict=True) if v > 0)
    sums = [
        sum(r for r, up in zip(ranks, signs, strict=True) if up)
        for signs in itertools.product((0, 1), repeat=len(ranks))
    ]
    far = abs(positive - total / 2)
    assert found.p == pytest.approx(np.mean([abs(s - total / 2) >= far - 1e-9 for s in sums]))
    assert found.rank_biserial == pytest.approx((2 * positive - total) / total)


@settings(deadline=None, max_examples=40)
@given(st.lists(FINITE, min_size=1, max_size=40))
def test_turning_the_sign_turns_the_effect_and_keeps_the_p(values: list[float]) -> None:
    found, turned = signed_rank(values), signed_rank([-value for value in values])
    assert turned.p == pytest.approx(found.p)
    assert turned.rank_biserial == pytest.approx(-found.rank_biserial)
    assert 0 < found.p <= 1


def test_differences_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        signed_rank([0.1, math.nan])


def test_holm_on_the_example_of_r_and_statsmodels() -> None:
    """p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm"); multipletests(..., method="holm") gives the same."""
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.001, 0.03]) == pytest.approx([0.06, 0.003, 0.06])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float], alpha: float) -> None:
    adjusted = holm(p_values)
    rejected = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if not p_values[index] * (len(p_values) - step) < alpha:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(adjusted) if p < alpha} == rejected


def test_the_standardised_difference_is_the_paired_t_over_the_root_of_n() -> None:
    values = np.random.default_rng(0).normal(0.2, 1, 25)
    expected = scipy.stats.ttest_1samp(values, 0).statistic / math.sqrt(25)
    assert standardised_difference(values) == pytest.approx(expected)
    assert standardised_difference([0.5, 0.5]) is None
    assert standardised_difference([0.5]) is None


def test_without_noise_of_patients_the_seed_test_is_welchs() -> None:
    """Two methods, one fold, several seeds each: the difference of two means."""
    ours, theirs = [0.80, 0.83, 0.81, 0.84], [0.78, 0.74, 0.77]
    noises = [training_noise([(1.0, means)]) for means in (ours, theirs)]
    expected = scipy.stats.ttest_ind(ours, theirs, equal_var=False)
    found = seed_test(np.mean(ours) - np.mean(theirs), 0.0, 20, [n for n in noises if n], 0.95)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert found.interval == pytest.approx((low, high))


def test_without_noise_of_training_the_seed_test_is_students() -> None:
    values = np.random.default_rng(1).normal(0.1, 0.3, 15)
    quiet = Noise(0.0, 2.0, 0.0)
    found = seed_test(float(values.mean()), float(values.var(ddof=1)) / 15, 15, [quiet, quiet], 0.95)
    assert found.p == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)


def test_the_noise_of_training_is_that_of_a_mean_over_folds() -> None:
    """Simulated: the score over folds, each scored by its own trainings, varies as told."""
    rng = np.random.default_rng(0)
    variances = []
    for _ in range(2000):
        found = training_noise([(0.5, rng.normal(0.7, 0.02, 3)), (0.5, rng.normal(0.8, 0.04, 3))])
        assert found is not None
        variances.append(found.variance)
    true = 0.25 * (0.02**2 + 0.04**2) / 3
    assert np.mean(variances) == pytest.approx(true, rel=0.05)
    assert training_noise([(0.5, [0.7]), (0.5, [0.8, 0.9])]) is None
    assert training_noise([]) is None
