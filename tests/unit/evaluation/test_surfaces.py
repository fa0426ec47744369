"""Boundaries and distances against brute force, MONAI, DeepMind's surface-distance and SimpleITK."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.evaluation import surfaces

MASKS = st.sampled_from([(4, 3, 5), (6, 5, 1), (1, 4, 4), (5, 6)]).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)
STEPS = st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 3.0])] * 3)


def naive_boundary(mask: np.ndarray) -> list[tuple[int, ...]]:
    found = []
    for place in itertools.product(*map(range, mask.shape)):
        neighbours = []
        for axis, n in enumerate(mask.shape):
            if n > 1:
                for step in (-1, 1):
                    other = (*place[:axis], place[axis] + step, *place[axis + 1 :])
                    neighbours.append(0 <= other[axis] < n and bool(mask[other]))
        if mask[place] and not all(neighbours):
            found.append(place)
    return found


def naive_distances(here: list, there: list, spacing: tuple[float, ...]) -> list[float]:
    scale = np.array(spacing)
    return [min(float(np.linalg.norm((np.array(a) - np.array(b)) * scale)) for b in there) for a in here]


def real_axes(mask: np.ndarray) -> list[int]:
    return [axis for axis, n in enumerate(mask.shape) if n > 1]


@settings(deadline=None, max_examples=60)
@given(masks=MASKS, steps=STEPS, tolerance=st.sampled_from([0.0, 0.7, 1.5]))
def test_agrees_with_brute_force(masks: tuple, steps: tuple[float, ...], tolerance: float) -> None:
    reference, prediction = masks
    spacing = steps[: reference.ndim]
    here, there = naive_boundary(reference), naive_boundary(prediction)
    found = surfaces.surface_distances(reference, prediction, spacing, real_axes(reference))
    if not here or not there:
        assert found.pooled.size == 0
        return
    forth, back = naive_distances(here, there, spacing), naive_distances(there, here, spacing)
    assert sorted(found.reference_to_prediction) == pytest.approx(sorted(forth))
    assert sorted(found.prediction_to_reference) == pytest.approx(sorted(back))
    assert surfaces.hausdorff(found) == pytest.approx(max(forth + back))
    expected = max(np.percentile(forth, 95), np.percentile(back, 95))
    assert surfaces.hausdorff_percentile(found) == pytest.approx(expected)
    assert surfaces.average_distance(found) == pytest.approx(np.mean(forth + back))
    within = np.mean(np.array(forth + back) <= tolerance + 1e-9)
    assert surfaces.surface_dice(found, tolerance) == pytest.approx(within)


@settings(deadline=None, max_examples=40)
@given(masks=MASKS)
def test_boundary_agrees_with_a_loop(masks: tuple) -> None:
    mask = masks[0]
    expected = np.zeros_like(mask)
    for place in naive_boundary(mask):
        expected[place] = True
    assert (surfaces.boundary(mask, real_axes(mask)) == expected).all()


def test_a_flat_image_has_an_outline_and_not_only_boundary() -> None:
    square = np.zeros((9, 9, 1), bool)
    square[1:8, 1:8] = True
    assert surfaces.boundary(square, axes=[0, 1]).sum() == 24
    assert surfaces.boundary(square).sum() == 49  # what the third axis would do to it


def test_an_image_of_one_voxel_is_all_boundary() -> None:
    assert surfaces.boundary(np.ones((1, 1, 1), bool), axes=[]).all()


def test_a_tolerance_survives_the_rounding_of_32_bit_spacings() -> None:
    reference, prediction = np.zeros((2, 30), bool), np.zeros((2, 30), bool)
    reference[:, 0], prediction[:, 20] = True, True
    spacing = (1.0, float(np.float32(0.1)))
    found = surfaces.surface_distances(reference, prediction, spacing)
    assert surfaces.hausdorff(found) > 2.0
    assert surfaces.surface_dice(found, 2.0) == 1.0


@pytest.fixture(scope="module", params=["near", "island", "thick slices"])
def shapes(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    spacing = (0.7, 0.8, 3.0) if request.param == "thick slices" else (1.0, 1.0, 1.0)
    grid = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip((30, 28, 20), spacing, strict=True)], indexing="ij")
    )

    def ball(centre: tuple[float, ...], radius: float) -> np.ndarray:
        return ((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0) < radius**2

    reference, prediction = ball((11, 10, 10), 7), ball((12, 10, 11), 6.5)
    if request.param == "island":
        prediction |= ball((25, 22, 16), 2)
    return reference, prediction, spacing


def batch(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask[None, None].astype(np.float32))


def test_agrees_with_monai(shapes: tuple) -> None:
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    reference, prediction, spacing = shapes
    both = (batch(prediction), batch(reference))
    about = {"include_background": True, "spacing": list(spacing)}
    found = surfaces.surface_distances(reference, prediction, spacing)
    pairs = [
        (surfaces.hausdorff(found), compute_hausdorff_distance(*both, **about)),
        (surfaces.hausdorff_percentile(found), compute_hausdorff_distance(*both, percentile=95, **about)),
        (surfaces.average_distance(found), compute_average_surface_distance(*both, symmetric=True, **about)),
        (surfaces.surface_dice(found, 1.1), compute_surface_dice(*both, [1.1], **about)),
    ]
    for ours, theirs in pairs:
        assert ours == pytest.approx(float(theirs), abs=1e-5)


def test_agrees_with_monai_in_2d(shapes: tuple) -> None:
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    reference, prediction, spacing = shapes
    middle = int(reference.sum(axis=(0, 1)).argmax())
    cut = slice(middle, middle + 1)
    found = surfaces.surface_distances(reference[..., cut], prediction[..., cut], spacing, axes=[0, 1])
    both = (batch(prediction[..., middle]), batch(reference[..., middle]))
    about = {"include_background": True, "spacing": list(spacing[:2])}
    theirs = compute_hausdorff_distance(*both, percentile=95, **about)
    assert surfaces.hausdorff_percentile(found) == pytest.approx(float(theirs), abs=1e-5)
    theirs = compute_surface_dice(*both, [1.1], **about)
    assert surfaces.surface_dice(found, 1.1) == pytest.approx(float(theirs), abs=1e-5)


def test_agrees_with_simpleitk_on_solid_shapes(shapes: tuple) -> None:
    reference, prediction, spacing = shapes
    images = []
    for mask in (reference, prediction):
        image = sitk.GetImageFromArray(mask.astype(np.uint8).transpose(2, 1, 0))
        image.SetSpacing(spacing)
        images.append(image)
    theirs = sitk.HausdorffDistanceImageFilter()
    theirs.Execute(*images)
    found = surfaces.surface_distances(reference, prediction, spacing)
    assert surfaces.hausdorff(found) == pytest.approx(theirs.GetHausdorffDistance(), abs=1e-5)


def test_deepmind_measures_between_voxel_corners(shapes: tuple) -> None:
    """Its surface elements lie at corners: no distance may differ by more than a voxel's diagonal."""
    from surface_distance import metrics

    reference, prediction, spacing = shapes
    theirs = metrics.compute_surface_distances(reference, prediction, spacing)
    found = surfaces.surface_distances(reference, prediction, spacing)
    voxel = float(np.linalg.norm(spacing))
    assert abs(surfaces.hausdorff(found) - metrics.compute_robust_hausdorff(theirs, 100)) <= voxel
    assert abs(surfaces.hausdorff_percentile(found) - metrics.compute_robust_hausdorff(theirs, 95)) <= voxel


def test_bounding_box() -> None:
    mask = np.zeros((5, 6, 7), bool)
    assert surfaces.bounding_box(mask) is None
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert surfaces.bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 7))
