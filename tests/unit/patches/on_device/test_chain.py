"""Each change of intensity beside the workers', and the noise, which is the device's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from medseg.patches.augment import (
    bias_field,
    blur,
    brightness,
    contrast,
    gamma,
    intensity,
    low_resolution,
    noise,
    remap,
    synthesis,
)
from medseg.patches.on_device import chain
from medseg.patches.settings import AugmentationSettings


def coefficients(dims: int) -> Any:
    rng = np.random.default_rng(4)
    always = AugmentationSettings(bias_field_probability=1.0, bias_field_coefficients=0.5)
    drawn = bias_field.draw(rng, always, (0, 2), dims)
    assert drawn is not None
    return drawn


def gaussians(channels: tuple[int, ...], dims: int) -> Any:
    """Gaussians without width: the normals are the device's own."""
    always = AugmentationSettings(synthesis_probability=1.0, synthesis_std=(0.0, 0.0))
    drawn = synthesis.draw(np.random.default_rng(6), always, channels, tuple(range(dims)))
    assert drawn is not None
    return drawn


def curves(_: int) -> Any:
    drawn = remap.draw(np.random.default_rng(8), AugmentationSettings(remap_probability=1.0), (0, 1))
    assert drawn is not None
    return drawn


CHANGES = {
    "synthesis": lambda dims: gaussians((0, 2), dims),
    "remap": curves,
    "bias_field": coefficients,
    "blur": lambda dims: blur.Blur((0, 1), (0.5, 3.1), tuple(range(dims))),
    "blur_in_plane": lambda _: blur.Blur((2,), (1.0,), (0, 1)),
    "brightness": lambda _: brightness.Brightness((0, 1, 2), (0.8, 1.0, 1.3)),
    "contrast": lambda _: contrast.Contrast((1, 2), (0.6, 1.4)),
    "low_resolution": lambda dims: low_resolution.LowResolution((0, 2), (0.5, 0.77), tuple(range(dims))),
    "gamma": lambda _: gamma.Gamma((0, 1, 2), (0.6, 1.7, 1.0), False),
    "gamma_inverted": lambda _: gamma.Gamma((0, 2), (0.6, 1.7), True),
}


@pytest.mark.parametrize("space", [(20, 18, 15), (1, 7, 30), (24, 21)], ids=["3D", "thin", "2D"])
@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_the_workers(name: str, space: tuple[int, ...]) -> None:
    drawn = CHANGES[name](len(space))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 3, *space)).astype(np.float32)
    label = rng.choice(np.array([0, 0, 1, 2, 255], np.uint8), (2, 1, *space))
    here = torch.from_numpy(images.copy())
    chain.apply(here, chain.chain_of([[], [drawn]], 3, space), torch.from_numpy(label))
    expected = images.copy()
    intensity.apply(expected[1], [drawn], label[1, 0])
    np.testing.assert_allclose(here.numpy(), expected, atol=2e-5)
    assert (here.numpy() != images).any()
    untouched = [m for m in range(3) if m not in drawn.channels]
    np.testing.assert_array_equal(here[1, untouched], images[1, untouched])
    np.testing.assert_array_equal(here[0], images[0])


def test_the_gaussians_have_their_widths_and_need_no_label() -> None:
    always = AugmentationSettings(
        synthesis_probability=1.0, synthesis_mean=(0.5, 0.5), synthesis_std=(0.1, 0.1)
    )
    drawn = synthesis.draw(np.random.default_rng(0), always, (0, 1), (0, 1))
    assert drawn is not None
    image = torch.from_numpy(np.random.default_rng(1).exponential(size=(1, 2, 200, 200)).astype(np.float32))
    old = image.clone()
    chain.apply(image, chain.chain_of([[drawn]], 2, (200, 200)))
    torch.testing.assert_close(image.std((2, 3)), old.std((2, 3)), rtol=1e-3, atol=0)
    torch.testing.assert_close(image.mean((2, 3)), old.mean((2, 3)), rtol=1e-3, atol=1e-3)
    assert abs(float(torch.corrcoef(image[0].flatten(1))[0, 1])) < 0.05
    assert stats.skew(image[0, 0].numpy(), axis=None) == pytest.approx(0, abs=0.1)


def test_constant_images_stay_finite() -> None:
    image = torch.full((1, 3, 6, 5, 4), 2.5)
    changes = [
        CHANGES[name](3)
        for name in ("synthesis", "remap", "bias_field", "blur", "contrast", "low_resolution")
    ]
    changes += [CHANGES[name](3) for name in ("gamma_inverted", "gamma")]
    chain.apply(image, chain.chain_of([changes], 3, (6, 5, 4)))
    np.testing.assert_allclose(image, 2.5, atol=1e-5)


@pytest.mark.parametrize("space", [(40, 40, 40), (250, 250)])
def test_noise_is_normal_and_of_the_drawn_deviation(space: tuple[int, ...]) -> None:
    image = torch.zeros(2, 3, *space)
    drawn = [[noise.Noise((0, 2), 0.3, 11)], [noise.Noise((1,), 0.05, 12)]]
    chain.apply(image, chain.chain_of(drawn, 3, space))
    assert not image[0, 1].any()
    assert not image[1, [0, 2]].any()
    for row, std in ((image[0, 0], 0.3), (image[0, 2], 0.3), (image[1, 1], 0.05)):
        values = row.flatten().double().numpy() / std
        assert abs(values.mean()) < 4 / len(values) ** 0.5
        assert values.std() == pytest.approx(1, abs=0.015)
        assert stats.kstest(values[:5000], "norm").pvalue > 1e-4
    assert abs(float(torch.corrcoef(image[0, [0, 2]].flatten(1))[0, 1])) < 0.02


def test_noise_belongs_to_its_seed_and_not_to_its_place() -> None:
    drawn = noise.Noise((0, 1), 0.3, (1 << 63) - 5)
    alone, second = torch.zeros(1, 2, 9, 8, 7), torch.zeros(2, 2, 9, 8, 7)
    before = torch.get_rng_state()
    chain.apply(alone, chain.chain_of([[drawn]], 2, (9, 8, 7)))
    chain.apply(second, chain.chain_of([[noise.Noise((0,), 1.0, 3)], [drawn]], 2, (9, 8, 7)))
    assert torch.equal(alone[0], second[1])
    assert not torch.equal(alone[0, 0], alone[0, 1])
    assert torch.equal(before, torch.get_rng_state())


def test_changes_in_another_order_are_refused() -> None:
    brighter, blurred = CHANGES["brightness"](3), CHANGES["blur"](3)
    with pytest.raises(ValueError, match="order"):
        chain.chain_of([[brighter, blurred]], 3, (4, 4, 4))


def test_the_order_is_that_of_the_draws() -> None:
    always = AugmentationSettings(
        **{name: 1.0 for name in vars(AugmentationSettings()) if name.endswith("_probability")}
    )
    for seed in range(20):
        channels = intensity.Channels((0, 1), 3, False)
        drawn = intensity.draw(np.random.default_rng(seed), always, channels)
        steps = chain.chain_of([drawn], 2, (8, 8, 8))
        assert len(steps) == len(drawn)
