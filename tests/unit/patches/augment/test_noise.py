"""The noise is Gaussian, and the same whoever makes it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from medseg.data.machine_code import compiled
from medseg.patches.augment import noise
from medseg.patches.augment.noise_kernels import philox


def field(seed: int, shape: tuple[int, ...] = (1, 96, 96, 96), std: float = 1.0) -> NDArray[np.float32]:
    image = np.zeros(shape, np.float32)
    noise.apply(image, noise.Noise(tuple(range(shape[0])), std, seed))
    return image


def _philox(words: Any, out: Any) -> None:
    c = (np.uint32(words[0]), np.uint32(words[1]), np.uint32(words[2]), np.uint32(words[3]))
    out[0], out[1], out[2], out[3] = philox(c, np.uint32(words[4]), np.uint32(words[5]))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([0] * 6, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 6, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_the_generator_is_philox(words: list[int], expected: list[int]) -> None:
    """The known answers that Random123 publishes for philox4x32-10."""
    out = np.zeros(4, np.uint32)
    compiled(_philox)(np.array(words, np.uint32), out)
    assert out.tolist() == expected


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_moments_and_distribution(seed: int) -> None:
    values = field(seed).ravel().astype(np.float64)
    n = len(values)
    assert abs(values.mean()) < 4 / np.sqrt(n)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.skew(values)) < 4 * np.sqrt(6 / n)
    assert abs(stats.kurtosis(values)) < 4 * np.sqrt(24 / n)
    assert stats.kstest(values, "norm").pvalue > 1e-3


def test_tails() -> None:
    values = np.concatenate([field(seed).ravel() for seed in range(4)])
    for limit in (2.0, 3.0, 4.0, 4.5):
        for sign in (-1, 1):
            expected = len(values) * stats.norm.sf(limit)
            assert abs((sign * values > limit).sum() - expected) < 4.5 * np.sqrt(expected)
    assert 4.8 < np.abs(values).max() < 6.8


def test_neighbours_channels_and_seeds_are_independent() -> None:
    one, other = field(1, (2, 64, 64, 64)), field(2, (2, 64, 64, 64))
    bound = 5 / np.sqrt(64**3)
    for a, b in (
        (one[0], one[1]),
        (one[0], other[0]),
        (one[0, 1:], one[0, :-1]),
        (one[0, :, 1:], one[0, :, :-1]),
        (one[0, :, :, 1:], one[0, :, :, :-1]),
        (one[0, ..., ::2], one[0, ..., 1::2]),
    ):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < bound
    flat = one[0].ravel()
    for lag in (8, 16, 32, 64, 96, 128):  # the words of one block
        assert abs(np.corrcoef(flat[lag:], flat[:-lag])[0, 1]) < bound
        assert abs(np.corrcoef(flat[lag:] ** 2, flat[:-lag] ** 2)[0, 1]) < bound


def test_it_is_added_with_the_drawn_strength() -> None:
    image = np.random.default_rng(0).standard_normal((3, 30, 31, 29)).astype(np.float32)
    changed = image.copy()
    noise.apply(changed, noise.Noise((0, 2), 0.07, 5))
    np.testing.assert_array_equal(changed[1], image[1])
    added = (changed - image)[[0, 2]].astype(np.float64)
    assert added.std() == pytest.approx(0.07, rel=0.02)
    assert stats.kstest(added[1].ravel() / 0.07, "norm").pvalue > 1e-3


@pytest.mark.parametrize("size", [1, 3, 127, 128, 129, 1000])
def test_a_shorter_patch_gets_the_beginning_of_the_same_noise(size: int) -> None:
    np.testing.assert_array_equal(field(3, (1, size)), field(3, (1, 4096))[:, :size])


def test_every_thread_makes_the_same_noise() -> None:
    expected = [field(seed, (1, 40, 40, 40)) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: field(seed, (1, 40, 40, 40)), range(8)))
    np.testing.assert_array_equal(found, expected)
