"""What is drawn, and that nothing is interpolated where nothing was drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.patches.augment import spatial
from medseg.patches.settings import AugmentationSettings

GRID = spatial.Grid((16, 16, 16), (1.0, 1.0, 2.0), False, (0, 1, 2))
OFTEN = AugmentationSettings(
    rotation_probability=0.3,
    scaling_probability=0.4,
    elastic_probability=0.25,
    rotation_degrees=(10.0, 20.0, 40.0),
)


def draws(changed: AugmentationSettings, grid: spatial.Grid, count: int = 2000) -> list[spatial.Spatial]:
    return [spatial.draw(np.random.default_rng(seed), changed, grid) for seed in range(count)]


def test_probabilities_and_ranges_are_the_settings() -> None:
    drawn = draws(OFTEN, GRID)
    turned = np.array([d.rotation for d in drawn if any(d.rotation)])
    scaled = np.log([d.scale for d in drawn if d.scale != 1])
    assert len(turned) / 2000 == pytest.approx(0.3, abs=0.04)
    assert len(scaled) / 2000 == pytest.approx(0.4, abs=0.04)
    assert np.mean([d.elastic is not None for d in drawn]) == pytest.approx(0.25, abs=0.04)
    np.testing.assert_allclose(np.mean([d.flips for d in drawn], axis=0), 0.5, atol=0.04)
    limits = np.array([10, 20, 40])
    assert (np.abs(turned) <= limits).all()
    np.testing.assert_allclose(turned.std(axis=0), limits / np.sqrt(3), rtol=0.08)
    np.testing.assert_allclose(turned.mean(axis=0) / limits, 0, atol=0.08)
    low, high = np.log(OFTEN.scaling_range)
    assert low <= scaled.min() <= scaled.max() <= high
    assert scaled.mean() == pytest.approx((low + high) / 2, abs=0.03)


def test_displacements_are_a_share_of_the_control_spacing_in_mm() -> None:
    bent = [d.elastic for d in draws(replace(OFTEN, elastic_displacement=(0.2, 0.2)), GRID, 200) if d.elastic]
    distance = 0.2 * 16 * 2.0  # the longest side is 32 mm
    for elastic in bent:
        in_mm = elastic.control * np.array(GRID.spacing).reshape(3, 1, 1, 1)
        assert np.abs(in_mm).max() <= 0.2 * distance * (1 + 1e-6)
        assert np.abs(in_mm).max() > 0.19 * distance
        np.testing.assert_allclose(np.array(elastic.interval) * GRID.spacing, distance)


def test_in_plane_changes_leave_slices_where_they_are() -> None:
    grid = replace(GRID, in_plane=True)
    for d in draws(replace(OFTEN, rotation_probability=1.0, elastic_probability=1.0), grid, 100):
        assert d.rotation[:2] == (0, 0)
        assert d.matrix is not None
        np.testing.assert_array_equal(d.matrix[2], [0, 0, 1])
        np.testing.assert_array_equal(d.matrix[:, 2], [0, 0, 1])
        assert d.elastic is not None
        assert not d.elastic.control[2].any()


def test_only_the_allowed_axes_are_mirrored() -> None:
    flips = np.array([d.flips for d in draws(OFTEN, replace(GRID, flip_axes=(1,)), 200)])
    assert not flips[:, [0, 2]].any()
    assert flips[:, 1].any()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    patch=st.tuples(*[st.integers(1, 12)] * 3),
    start=st.tuples(*[st.integers(-14, 14)] * 3),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    outside=st.sampled_from([0, 255]),
)
def test_crop_is_an_exact_copy(shape: Any, patch: Any, start: Any, flips: Any, outside: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((2, *shape)).astype(np.float32)
    label = rng.integers(1, 9, shape).astype(np.uint8)
    out = spatial.Target(np.empty((2, *patch), np.float32), np.empty(patch, np.uint8))
    source = spatial.Source(image, label, np.ones(2, bool))
    spatial.apply(source, out, start, spatial.Spatial(flips=flips), spatial.Rules(False, outside=outside))
    for place in np.ndindex(patch):
        at = tuple(
            s + (n - 1 - p if flip else p) for s, n, p, flip in zip(start, patch, place, flips, strict=True)
        )
        inside = all(0 <= a < n for a, n in zip(at, shape, strict=True))
        assert out.label[place] == (label[at] if inside else outside)
        assert (out.image[(slice(None), *place)] == (image[(slice(None), *at)] if inside else 0)).all()


def test_an_identity_warp_is_the_crop() -> None:
    rng = np.random.default_rng(5)
    image, label = rng.standard_normal((1, 14, 15, 16)).astype(np.float32), rng.integers(0, 4, (14, 15, 16))
    source = spatial.Source(image, label.astype(np.uint8), np.ones(1, bool))
    for in_plane in (False, True):
        for flips in ((False, False, False), (True, False, True), (True, True, True)):
            copied, warped = (
                spatial.Target(np.empty((1, 9, 8, 7), np.float32), np.empty((9, 8, 7), np.uint8))
                for _ in range(2)
            )
            rules = spatial.Rules(in_plane)
            spatial.apply(source, copied, (-2, 4, 11), spatial.Spatial(flips), rules)
            spatial.apply(source, warped, (-2, 4, 11), spatial.Spatial(flips, np.eye(3)), rules)
            np.testing.assert_array_equal(copied.image, warped.image)
            np.testing.assert_array_equal(copied.label, warped.label)
