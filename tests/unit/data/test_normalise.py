from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.normalise import METHODS, PARAMETERS, learn_landmarks, normalise, scheme_problems

SCHEMES = {
    "zscore": {"method": "zscore", "lower": 0.5, "upper": 99.5, "nonzero": False},
    "ct": {"method": "ct", "lower": -100.0, "upper": 300.0, "mean": 50.0, "std": 80.0},
    "percentile": {"method": "percentile", "lower": 1.0, "upper": 99.0, "nonzero": True},
    "histogram": {
        "method": "histogram",
        "percentiles": [1, 50, 99],
        "landmarks": [-2.0, 0.0, 2.0],
        "nonzero": False,
    },
    "none": {"method": "none"},
}


def noise(seed=0, shape=(12, 11, 10)):
    return np.random.default_rng(seed).normal(300, 40, shape).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(SCHEMES)), st.sampled_from(["noise", "constant", "zeros", "huge", "one"]))
def test_every_method_gives_finite_float32_and_leaves_its_input_alone(method, kind):
    image = {
        "noise": noise(),
        "constant": np.full((4, 4, 4), 7, np.float32),
        "zeros": np.zeros((4, 4, 4), np.float32),
        "huge": noise() * np.float32(1e30),
        "one": np.ones((1, 1, 1), np.float32),
    }[kind]
    before = image.copy()
    result = normalise(image, SCHEMES[method])
    assert result.dtype == np.float32
    assert result.shape == image.shape
    assert result is not image
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(image, before)


def test_zscore_is_not_moved_by_an_artefact():
    image = noise()
    spoiled = image.copy()
    spoiled[0, 0, 0] = 1.7e6
    clean, dirty = (normalise(array, SCHEMES["zscore"]) for array in (image, spoiled))
    assert abs(clean.mean()) < 1e-4
    assert abs(clean.std() - 1) < 1e-3
    assert np.abs(clean - dirty).ravel()[1:].max() < 0.05


def test_zscore_does_not_depend_on_the_scale_of_the_scanner():
    np.testing.assert_allclose(
        normalise(noise(), SCHEMES["zscore"]), normalise(noise() * 1000 + 5, SCHEMES["zscore"]), atol=1e-3
    )


def test_nonzero_leaves_the_surroundings_out_and_zero():
    image = np.zeros((20, 20, 20), np.float32)
    image[5:15, 5:15, 5:15] = noise(shape=(10, 10, 10))
    result = normalise(image, {**SCHEMES["zscore"], "nonzero": True})
    assert (result[image == 0] == 0).all()
    assert abs(result[image != 0].mean()) < 1e-4


def test_ct_clips_at_the_values_of_the_cohort():
    image = np.array([-1000, -100, 50, 130, 3000], np.float32).reshape(5, 1, 1)
    expected = np.array([-150, -150, 0, 80, 250]) / 80
    np.testing.assert_allclose(normalise(image, SCHEMES["ct"]).ravel(), expected, atol=1e-6)


def test_percentile_gives_zero_to_one():
    result = normalise(noise(), SCHEMES["percentile"])
    assert (result.min(), result.max()) == (0, 1)


def test_histogram_brings_two_scanners_to_one_scale():
    tissue = np.random.default_rng(0).choice([1.0, 2.0, 4.0], 4000) + np.random.default_rng(1).normal(
        0, 0.1, 4000
    )
    first, second = (scan.astype(np.float32).reshape(20, 20, 10) for scan in (tissue * 100, 20 * tissue**1.5))
    percentiles = [1.0, *range(10, 100, 10), 99.0]
    curves = np.array([np.percentile(scan, percentiles) for scan in (first, second)])
    landmarks = learn_landmarks(curves, percentiles)
    assert landmarks == sorted(landmarks)
    scheme = {"method": "histogram", "percentiles": percentiles, "landmarks": landmarks, "nonzero": False}
    assert not scheme_problems(scheme)
    one, two = normalise(first, scheme), normalise(second, scheme)
    assert np.abs(one - two).mean() < 0.1
    assert abs(one.mean()) < 0.2


def test_landmarks_of_constant_images_are_usable():
    assert learn_landmarks(np.ones((3, 3)), [1, 50, 99]) == [0.01, 0.5, 0.99]


def test_good_schemes_have_no_problem():
    assert set(METHODS) == set(PARAMETERS) == set(SCHEMES)
    assert not [line for scheme in SCHEMES.values() for line in scheme_problems(scheme)]


@pytest.mark.parametrize(
    "scheme",
    [
        None,
        "zscore",
        {"method": "minmax"},
        {"method": "zscore"},
        {**SCHEMES["zscore"], "mean": 3},
        {**SCHEMES["zscore"], "lower": "low"},
        {**SCHEMES["zscore"], "lower": 99.9},
        {**SCHEMES["zscore"], "upper": 101},
        {**SCHEMES["zscore"], "nonzero": 1},
        {**SCHEMES["ct"], "std": 0},
        {**SCHEMES["ct"], "mean": float("nan")},
        {**SCHEMES["histogram"], "landmarks": [1, 2]},
        {**SCHEMES["histogram"], "landmarks": [2, 1, 0]},
        {**SCHEMES["histogram"], "percentiles": [0, 50, 120]},
        {**SCHEMES["histogram"], "percentiles": "1 50 99"},
    ],
)
def test_bad_schemes_are_named(scheme):
    assert len(scheme_problems(scheme)) == 1
