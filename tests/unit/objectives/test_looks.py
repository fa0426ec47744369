from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.objectives.looks import Look, features_at, look, resample, shared_points

SIZES = st.sampled_from([(6, 8), (8, 5), (4, 6, 5)])
STILL = {"crop": 1.0, "flip": 0.0, "strength": 0.0, "cutout": 0.0}


def ramps(size: tuple[int, ...], batch: int = 2) -> torch.Tensor:
    """``(B, axes, *S)``: each voxel's centre, from -1 to 1."""
    lines = [(2 * torch.arange(n) + 1) / n - 1 for n in size]
    return torch.stack(torch.meshgrid(*lines, indexing="ij")).expand(batch, -1, *size).clone()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), SIZES)
def test_without_changes_a_look_is_the_patch(seed: int, size: tuple[int, ...]) -> None:
    torch.manual_seed(seed)
    image = torch.randn(2, 3, *size)
    seen = look(image, torch.ones(2, 3, dtype=torch.bool), **STILL)
    assert torch.allclose(seen.image, image, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), SIZES)
def test_mirroring_is_what_flip_does(seed: int, size: tuple[int, ...]) -> None:
    torch.manual_seed(seed)
    image = torch.randn(2, 1, *size)
    seen = look(image, torch.ones(2, 1, dtype=torch.bool), **(STILL | {"flip": 0.5}))
    for row in range(2):
        axes = [axis + 1 for axis, half in enumerate(seen.half[row].tolist()) if half < 0]
        assert torch.allclose(seen.image[row], image[row].flip(axes), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), SIZES)
def test_a_voxel_of_a_look_is_where_the_look_says(seed: int, size: tuple[int, ...]) -> None:
    """The value of a coordinate ramp is the place, but for half a voxel at the patch's edge."""
    torch.manual_seed(seed)
    seen = look(
        torch.zeros(2, 1, *size), torch.ones(2, 1, dtype=torch.bool), **(STILL | {"crop": 0.5, "flip": 0.5})
    )
    share = seen.half.abs()
    assert bool((share >= 0.5).all())
    assert bool((share <= 1).all())
    assert bool(((seen.centre.abs() + share) <= 1 + 1e-6).all()), "it lies within the patch"
    found, grid = resample(ramps(size), seen.centre, seen.half), ramps(size)
    shape = (2, len(size), *(1,) * len(size))
    expected = seen.centre.reshape(shape) + seen.half.reshape(shape) * grid
    edge = torch.tensor([1 - 1 / n for n in size]).reshape(1, *shape[1:])
    assert torch.allclose(found, torch.minimum(torch.maximum(expected, -edge), edge), atol=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), SIZES)
def test_shared_points_are_the_same_place_in_both_looks(seed: int, size: tuple[int, ...]) -> None:
    torch.manual_seed(seed)
    present, rules = torch.ones(2, 1, dtype=torch.bool), STILL | {"crop": 0.5, "flip": 0.5}
    pair = [look(torch.zeros(2, 1, *size), present, **rules) for _ in range(2)]
    points = shared_points(pair[0], pair[1], 7)
    assert points.shape == (2, 7, len(size))
    for seen in pair:
        assert bool((seen.place(points).abs() <= 1 + 1e-5).all()), "both see them"
        features = resample(ramps(size), seen.centre, seen.half)
        edge = torch.tensor([3 / n for n in size])  # where the ramp is cut off at the border
        inside = (points.abs() < 1 - edge).all(2) & (seen.place(points).abs() < 1 - edge).all(2)
        assert torch.allclose(features_at(features, seen.place(points))[inside], points[inside], atol=1e-3)


def test_missing_modalities_stay_zero_and_the_seed_repeats_it() -> None:
    image, present = torch.randn(2, 2, 8, 8), torch.tensor([[True, True], [True, False]])
    image[1, 1] = 0
    looks: list[Look] = []
    for _ in range(2):
        torch.manual_seed(3)
        looks.append(look(image, present, crop=0.6, flip=0.5, strength=0.5, cutout=0.3))
    assert torch.equal(looks[0].image, looks[1].image)
    assert not looks[0].image[1, 1].any()
    assert not torch.equal(looks[0].image[0], image[0])
    assert looks[0].image.isfinite().all()


@pytest.mark.parametrize("size", [(4, 6), (3, 4, 5)])
def test_features_are_read_between_voxels(size: tuple[int, ...]) -> None:
    """At the centres of voxels they are the voxels."""
    features = torch.randn(1, 3, *size)
    points = ramps(size, 1).flatten(2).transpose(1, 2)
    assert torch.allclose(features_at(features, points), features.flatten(2).transpose(1, 2), atol=1e-5)
