"""Each change of intensity against its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.patches.augment import (
    bias_field,
    blur,
    brightness,
    contrast,
    gamma,
    intensity,
    low_resolution,
    noise,
)
from medseg.patches.settings import AugmentationSettings

CHANNELS = (0, 1, 2)


@pytest.fixture(params=[(20, 18, 16), (24, 20)], ids=["3D", "2D"])
def image(request: pytest.FixtureRequest) -> Any:
    return np.random.default_rng(0).standard_normal((3, *request.param)).astype(np.float32)


def test_noise_has_the_drawn_standard_deviation() -> None:
    image = np.zeros((2, 40, 40, 40), np.float32)
    noise.apply(image, noise.Noise((1,), 0.3, 5))
    assert not image[0].any()
    assert image[1].std() == pytest.approx(0.3, rel=0.01)
    assert image[1].mean() == pytest.approx(0, abs=0.005)
    again = np.zeros_like(image)
    noise.apply(again, noise.Noise((1,), 0.3, 5))
    np.testing.assert_array_equal(image, again)


def test_blur_is_scipys(image: Any) -> None:
    dims = image.ndim - 1
    blurred = image.copy()
    blur.apply(blurred, blur.Blur((0, 2), (0.6, 1.7), tuple(range(dims))))
    for channel, sigma in ((0, 0.6), (2, 1.7)):
        expected = ndimage.gaussian_filter(image[channel].astype(float), sigma, mode="nearest")
        np.testing.assert_allclose(blurred[channel], expected, atol=1e-5)
    np.testing.assert_array_equal(blurred[1], image[1])


def test_blur_in_plane_leaves_slices_apart() -> None:
    image = np.zeros((1, 9, 9, 5), np.float32)
    image[0, 4, 4, 2] = 1
    blur.apply(image, blur.Blur((0,), (1.0,), (0, 1)))
    assert not image[..., [0, 1, 3, 4]].any()
    assert image.sum() == pytest.approx(1)


@pytest.mark.parametrize("kept", [0.5, 0.7, 1.0])
def test_low_resolution_is_nearest_down_and_linear_up(image: Any, kept: float) -> None:
    dims = image.ndim - 1
    low = image.copy()
    low_resolution.apply(low, low_resolution.LowResolution((1,), (kept,), tuple(range(dims))))
    small = tuple(round(n * kept) for n in image.shape[1:])
    tensor = torch.from_numpy(image[1]).double()[None, None]
    down = torch.nn.functional.interpolate(tensor, small, mode="nearest-exact")
    mode = {2: "bilinear", 3: "trilinear"}[dims]
    expected = torch.nn.functional.interpolate(down, image.shape[1:], mode=mode, align_corners=False)[0, 0]
    np.testing.assert_allclose(low[1], expected.numpy(), atol=1e-5)
    np.testing.assert_array_equal(low[[0, 2]], image[[0, 2]])


def test_brightness_and_contrast(image: Any) -> None:
    brighter, flatter = image.copy(), image.copy()
    brightness.apply(brighter, brightness.Brightness((1,), (1.2,)))
    np.testing.assert_allclose(brighter[1], image[1] * 1.2, rtol=1e-6)
    contrast.apply(flatter, contrast.Contrast((0, 1), (0.8, 1.5)))
    np.testing.assert_allclose(flatter[0].mean(), image[0].mean(), atol=1e-5)
    np.testing.assert_allclose(flatter[0].std(), image[0].std() * 0.8, rtol=1e-4)
    assert flatter[1].min() == image[1].min()
    assert flatter[1].max() == image[1].max()
    np.testing.assert_array_equal(flatter[2], image[2])


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_keeps_order_mean_and_standard_deviation(image: Any, inverted: bool) -> None:
    bent = image.copy()
    gamma.apply(bent, gamma.Gamma((0,), (1.4,), inverted))
    assert bent[0].mean() == pytest.approx(image[0].mean(), abs=1e-4)
    assert bent[0].std() == pytest.approx(image[0].std(), rel=1e-3)
    order = np.argsort(image[0], axis=None)
    assert (np.diff(bent[0].ravel()[order]) >= -1e-5).all()
    scaled = (image[0] - image[0].min()) / np.ptp(image[0])
    curve = 1 - (1 - scaled) ** 1.4 if inverted else scaled**1.4
    assert np.corrcoef(curve.ravel(), bent[0].ravel())[0, 1] > 0.99999
    constant = np.full_like(image, 2)
    gamma.apply(constant, gamma.Gamma((0,), (1.4,), inverted))
    assert (constant == 2).all()


def test_bias_field_is_the_exponential_of_its_polynomial(image: Any) -> None:
    dims = image.ndim - 1
    often = AugmentationSettings(bias_field_probability=1.0)
    drawn = bias_field.draw(np.random.default_rng(3), often, (1,), dims)
    assert drawn is not None
    changed = image.copy()
    bias_field.apply(changed, drawn)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in image.shape[1:]], indexing="ij")
    logarithm = sum(
        drawn.coefficients[(0, *power)] * np.prod([a**p for a, p in zip(axes, power, strict=True)], axis=0)
        for power in np.ndindex(*(4,) * dims)
        if sum(power) <= 3
    )
    low = image[1].min()
    np.testing.assert_allclose(changed[1], (image[1] - low) * np.exp(logarithm) + low, atol=1e-4)
    assert np.abs(drawn.coefficients).max() <= often.bias_field_coefficients
    np.testing.assert_array_equal(changed[[0, 2]], image[[0, 2]])


def bent_by_definition(values: Any, exponent: float, inverted: bool) -> Any:
    values = (-values if inverted else values).astype(np.float64)
    low, high = values.min(), values.max()
    curve = ((values - low) / (high - low)) ** exponent
    curve = (curve - curve.mean()) / curve.std() * values.std() + values.mean()
    return -curve if inverted else curve


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(2, 24), min_size=2, max_size=3),
    exponent=st.floats(0.3, 3.0),
    inverted=st.booleans(),
    mean=st.floats(-1000, 1000),
    std=st.floats(0.01, 1000),
    skewed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_gamma_is_its_definition(
    shape: Any, exponent: float, inverted: bool, mean: float, std: float, skewed: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=(1, *shape)) ** 2 if skewed else rng.standard_normal((1, *shape))
    image = (mean + std * values).astype(np.float32)
    if np.ptp(image) < 1e-3 * abs(mean):
        return  # float32 has no digits left between such values
    expected = bent_by_definition(image, exponent, inverted)
    changed = image.copy()
    gamma.apply(changed, gamma.Gamma((0,), (exponent,), inverted))
    # What float32 cannot hold of a large mean is no fault of the curve; a root is steep at zero.
    rounding = 4 * np.spacing(np.float32(np.abs(image).max()))
    step = rounding / np.ptp(image)
    steep = np.ptp(expected) * min(1.0, (2 * step) ** min(exponent, 1.0))
    np.testing.assert_allclose(changed, expected, atol=1e-4 * np.ptp(expected) + rounding + steep)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(2, 9000),
    factor=st.floats(0.3, 3.0),
    mean=st.floats(-100, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_contrast_is_its_definition(size: int, factor: float, mean: float, seed: int) -> None:
    image = (mean + np.random.default_rng(seed).standard_normal((1, size))).astype(np.float32)
    wide = image.astype(np.float64)
    expected = np.clip((wide - wide.mean()) * factor + wide.mean(), wide.min(), wide.max())
    contrast.apply(image, contrast.Contrast((0,), (factor,)))
    np.testing.assert_allclose(image, expected, atol=1e-5 * (1 + abs(mean)))


def test_wide_blurs_and_other_sizes(image: Any) -> None:
    for sigma in (0.05, 0.3, 2.4, 6.0):
        blurred = image.copy()
        blur.apply(blurred, blur.Blur((0,), (sigma,), tuple(range(image.ndim - 1))))
        expected = ndimage.gaussian_filter(image[0].astype(float), sigma, mode="nearest")
        np.testing.assert_allclose(blurred[0], expected, atol=1e-5)


def test_absent_channels_are_left_alone(image: Any) -> None:
    always = AugmentationSettings(
        **{name: 1.0 for name in vars(AugmentationSettings()) if name.endswith("_probability")}
    )
    changed = image.copy()
    channels = intensity.Channels((0, 2), image.ndim - 1, in_plane=False)
    intensity.apply(changed, intensity.draw(np.random.default_rng(0), always, channels))
    np.testing.assert_array_equal(changed[1], image[1])
    assert not np.array_equal(changed[0], image[0])
    assert np.isfinite(changed).all()


def test_no_augmentation_draws_nothing() -> None:
    channels = intensity.Channels(CHANNELS, 3, in_plane=False)
    assert not any(
        intensity.draw(np.random.default_rng(s), AugmentationSettings.off(), channels) for s in range(50)
    )
