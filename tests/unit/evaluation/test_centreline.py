"""clDice of tubes whose centrelines are known."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.morphology import skeletonize

from medseg.evaluation.centreline import cldice, skeleton


def tube(shape: tuple[int, ...], first: int, last: int) -> np.ndarray:
    """Along the first axis, five voxels thick."""
    mask = np.zeros(shape, bool)
    mask[(slice(first, last), *[slice(n // 2 - 2, n // 2 + 3) for n in shape[1:]])] = True
    return mask


@pytest.mark.parametrize("shape", [(60, 15), (60, 15, 15), (60, 15, 1)])
def test_a_gap_costs_sensitivity_and_a_thin_tube_nothing(shape: tuple[int, ...]) -> None:
    axes = [axis for axis, n in enumerate(shape) if n > 1]
    reference = tube(shape, 5, 55) if shape[-1] > 1 else tube(shape[:2], 5, 55)[..., None]
    assert cldice(reference, reference, axes) == 1.0
    line = skeleton(reference, axes)
    assert 40 <= line.sum() <= 50
    assert cldice(reference, line, axes) == 1.0
    torn = reference.copy()
    torn[25:35] = False
    sensitive = (line & torn).sum() / line.sum()
    assert cldice(reference, torn, axes) == pytest.approx(2 * sensitive / (1 + sensitive), abs=0.02)


def test_follows_the_formula() -> None:
    rng = np.random.Generator(np.random.Philox(0))
    reference, prediction = rng.random((2, 20, 20)) < 0.6
    precise = (skeletonize(prediction) & reference).sum() / skeletonize(prediction).sum()
    sensitive = (skeletonize(reference) & prediction).sum() / skeletonize(reference).sum()
    expected = 2 * precise * sensitive / (precise + sensitive)
    assert cldice(reference, prediction, [0, 1]) == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("shape", [(9, 9), (9, 9, 9), (9, 9, 1), (9, 1, 1), (1, 1, 1)])
def test_a_speck_is_its_own_centre(shape: tuple[int, ...], size: int) -> None:
    speck, elsewhere = np.zeros((2, *shape), bool)
    speck[tuple(slice(0, size) for _ in shape)] = True
    axes = [axis for axis, n in enumerate(shape) if n > 1]
    assert cldice(speck, speck, axes) == 1.0
    if axes:
        elsewhere[-1] = True
        assert cldice(speck, elsewhere, axes) == 0.0
