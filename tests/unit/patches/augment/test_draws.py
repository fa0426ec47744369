"""Ten thousand draws of every change: how often, and from which distribution, as the settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from medseg.patches.augment import (
    bias_field,
    blur,
    brightness,
    contrast,
    gamma,
    low_resolution,
    noise,
    spatial,
)
from medseg.patches.settings import AugmentationSettings

DRAWS = 10_000
CHANNELS = (0, 1, 2)
GRID = spatial.Grid((32, 24, 16), (1.0, 1.5, 2.0), False, (0, 1, 2))
SETTINGS = AugmentationSettings(
    rotation_probability=0.35,
    rotation_degrees=(10.0, 20.0, 40.0),
    scaling_probability=0.4,
    elastic_probability=0.25,
    flip_probability=0.3,
    noise_probability=0.15,
    blur_probability=0.6,
    blur_channel_probability=0.4,
    brightness_probability=0.45,
    contrast_probability=0.55,
    contrast_range=(1.1, 1.6),
    low_resolution_probability=0.7,
    low_resolution_channel_probability=0.8,
    gamma_probability=0.3,
    gamma_inverted_probability=0.65,
    bias_field_probability=0.2,
)


def as_often_as(hits: Sequence[bool] | NDArray[np.bool_], probability: float) -> None:
    """A binomial count within 4.5 standard deviations."""
    n, count = len(hits), int(np.sum(hits))
    assert abs(count - n * probability) <= 4.5 * np.sqrt(n * probability * (1 - probability)) + 1e-9


def follows(values: Any, distribution: Any) -> None:
    """Kolmogorov and Smirnov; the seeds are fixed, so this passes always or never."""
    assert stats.kstest(np.ravel(values), distribution.cdf).pvalue > 1e-3


def evenly(low: float, high: float) -> Any:
    return stats.uniform(low, high - low)


class AroundOne:
    """Half below 1, half above, evenly on either side."""

    def __init__(self, low: float, high: float) -> None:
        self.points = [low, 1.0, high]

    def cdf(self, value: Any) -> Any:
        return np.interp(value, self.points, [0.0, 0.5, 1.0])


def intensity_draws(draw: Callable[..., Any], seed: int, *arguments: Any) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [draw(rng, SETTINGS, CHANNELS, *arguments) for _ in range(DRAWS)]


@pytest.fixture(scope="module")
def drawn() -> list[spatial.Spatial]:
    rng = np.random.default_rng(1)
    return [spatial.draw(rng, SETTINGS, GRID) for _ in range(DRAWS)]


def test_rotation(drawn: list[spatial.Spatial]) -> None:
    angles = np.array([d.rotation for d in drawn])
    turned = angles.any(axis=1)
    as_often_as(turned, 0.35)
    for axis, limit in enumerate(SETTINGS.rotation_degrees):
        follows(angles[turned, axis], evenly(-limit, limit))
    np.testing.assert_allclose(np.corrcoef(angles[turned].T), np.eye(3), atol=0.07)


def test_rotation_in_plane() -> None:
    rng, grid = np.random.default_rng(2), replace(GRID, in_plane=True)
    angles = np.array([spatial.draw(rng, SETTINGS, grid).rotation for _ in range(DRAWS)])
    assert not angles[:, :2].any()
    as_often_as(angles[:, 2] != 0, 0.35)
    follows(angles[angles[:, 2] != 0, 2], evenly(-180, 180))


def test_scale_is_log_uniform(drawn: list[spatial.Spatial]) -> None:
    scales = np.array([d.scale for d in drawn])
    as_often_as(scales != 1, 0.4)
    follows(np.log(scales[scales != 1]), evenly(*np.log(SETTINGS.scaling_range)))
    for d in drawn[:200]:
        if d.matrix is not None:
            assert np.linalg.det(d.matrix) == pytest.approx(d.scale**-3)


def test_turning_scaling_and_bending_are_independent(drawn: list[spatial.Spatial]) -> None:
    events = np.array([[any(d.rotation), d.scale != 1, d.elastic is not None] for d in drawn])
    as_often_as(events[:, 2], 0.25)
    as_often_as(events[:, 0] & events[:, 1], 0.35 * 0.4)
    as_often_as(events.all(axis=1), 0.35 * 0.4 * 0.25)
    assert [d.matrix is None for d in drawn] == [not any(e[:2]) for e in events]


def test_control_points_are_moved_evenly() -> None:
    rng = np.random.default_rng(3)
    largest = 0.3
    settings = replace(SETTINGS, elastic_probability=1.0, elastic_displacement=(largest, largest))
    distance = settings.elastic_spacing * max(p * s for p, s in zip(GRID.patch, GRID.spacing, strict=True))
    found = []
    for _ in range(DRAWS):
        elastic = spatial.draw(rng, settings, GRID).elastic
        assert elastic is not None
        moved = elastic.control[:, 1, 2, 0] * np.array(GRID.spacing)  # of one control point, in mm
        found.append(moved / (largest * distance))
    for axis in range(3):
        follows(np.array(found)[:, axis], evenly(-1, 1))
    np.testing.assert_allclose(np.corrcoef(np.array(found).T), np.eye(3), atol=0.05)


def test_the_strength_of_bending_is_drawn_evenly(drawn: list[spatial.Spatial]) -> None:
    low, high = SETTINGS.elastic_displacement
    spacing = np.array(GRID.spacing).reshape(3, 1, 1, 1)
    distance = SETTINGS.elastic_spacing * 36.0
    strength = [np.abs(d.elastic.control * spacing).max() / distance for d in drawn if d.elastic is not None]
    # The largest of many hundred control points is nearly the limit itself.
    follows(strength, evenly(low, high))


def test_flips(drawn: list[spatial.Spatial]) -> None:
    flips = np.array([d.flips for d in drawn])
    for axis in range(3):
        as_often_as(flips[:, axis], 0.3)
        as_often_as(flips[:, axis] & flips[:, (axis + 1) % 3], 0.3**2)


def test_noise() -> None:
    changes = intensity_draws(noise.draw, 4)
    as_often_as([c is not None for c in changes], 0.15)
    found = [c for c in changes if c is not None]
    follows([c.std for c in found], evenly(*SETTINGS.noise_std))
    assert {c.channels for c in found} == {CHANNELS}
    assert len({c.seed for c in found}) == len(found)
    follows([c.seed / 2**63 for c in found], evenly(0, 1))


def of_chosen_channels(changes: list[Any], probability: float, per_channel: float) -> list[Any]:
    """The changes that there are; a patch is chosen first, then each channel by itself."""
    as_often_as([c is not None for c in changes], probability * (1 - (1 - per_channel) ** len(CHANNELS)))
    for channel in CHANNELS:
        as_often_as([c is not None and channel in c.channels for c in changes], probability * per_channel)
    as_often_as([c is not None and c.channels == CHANNELS for c in changes], probability * per_channel**3)
    return [c for c in changes if c is not None]


def test_blur() -> None:
    found = of_chosen_channels(intensity_draws(blur.draw, 5, (0, 1)), 0.6, 0.4)
    follows([s for c in found for s in c.sigma], evenly(*SETTINGS.blur_sigma))
    assert {c.axes for c in found} == {(0, 1)}
    assert all(len(c.sigma) == len(c.channels) for c in found)


def test_low_resolution() -> None:
    found = of_chosen_channels(intensity_draws(low_resolution.draw, 6, (0, 1, 2)), 0.7, 0.8)
    follows([k for c in found for k in c.kept], evenly(*SETTINGS.low_resolution_range))
    assert all(len(c.kept) == len(c.channels) for c in found)


def test_brightness() -> None:
    changes = intensity_draws(brightness.draw, 7)
    as_often_as([c is not None for c in changes], 0.45)
    factors = np.array([c.factor for c in changes if c is not None])
    follows(factors, AroundOne(*SETTINGS.brightness_range))
    np.testing.assert_allclose(np.corrcoef(factors.T), np.eye(3), atol=0.07)


def test_contrast_with_a_range_above_one() -> None:
    changes = intensity_draws(contrast.draw, 8)
    as_often_as([c is not None for c in changes], 0.55)
    follows([f for c in changes if c is not None for f in c.factor], evenly(1.1, 1.6))


@pytest.mark.parametrize(("inverted", "probability"), [(False, 0.3), (True, 0.65)])
def test_gamma(inverted: bool, probability: float) -> None:
    changes = intensity_draws(gamma.draw, 9, inverted)
    as_often_as([c is not None for c in changes], probability)
    found = [c for c in changes if c is not None]
    assert {c.inverted for c in found} == {inverted}
    follows([e for c in found for e in c.exponent], AroundOne(*SETTINGS.gamma_range))


def test_bias_field() -> None:
    changes = intensity_draws(bias_field.draw, 10, 3)
    as_often_as([c is not None for c in changes], 0.2)
    coefficients = np.array([c.coefficients for c in changes if c is not None])
    degree = np.indices((4, 4, 4)).sum(0)
    kept = (degree > 0) & (degree <= 3)
    assert not coefficients[..., ~kept].any()
    limit = SETTINGS.bias_field_coefficients
    follows(coefficients[:, 0][:, kept][:, :6], evenly(-limit, limit))
    follows(coefficients[:, 2][:, kept][:, 6:], evenly(-limit, limit))
