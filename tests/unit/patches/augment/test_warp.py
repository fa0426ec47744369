"""The compiled kernels against plain torch, scipy and SimpleITK."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.patches.augment import spatial, warp_torch
from medseg.patches.settings import AugmentationSettings

ALL = AugmentationSettings(
    rotation_probability=1.0,
    scaling_probability=1.0,
    elastic_probability=1.0,
    elastic_displacement=(0.1, 0.4),
    rotation_degrees=(180.0, 180.0, 180.0),
)


def smooth_case(rng: np.random.Generator, shape: tuple[int, int, int], modalities: int = 2) -> spatial.Source:
    image = rng.standard_normal((modalities, *shape)).astype(np.float32)
    code = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    label = np.digitize(code, np.quantile(code, [0.5, 0.7, 0.9])).astype(np.uint8)
    return spatial.Source(image, label, np.ones(modalities, bool))


def target(modalities: int, patch: tuple[int, int, int]) -> spatial.Target:
    return spatial.Target(np.full((modalities, *patch), np.nan, np.float32), np.full(patch, 99, np.uint8))


def one_hot_margin(
    source: spatial.Source, patch: Any, start: Any, drawn: spatial.Spatial, rules: spatial.Rules
) -> Any:
    """By how much the best label beats the second, per voxel: 0 is a tie."""
    assert source.label is not None
    shares = []
    for code in sorted({*np.unique(source.label).tolist(), rules.outside}):
        channel = torch.from_numpy((source.label == code).astype(np.float64) - (code == rules.outside))[None]
        share, _ = warp_torch.warp(channel, None, patch, start, drawn, spatial.Rules(rules.in_plane))
        shares.append(share[0] + (code == rules.outside))
    best = torch.stack(shares).sort(dim=0).values
    return (best[-1] - best[-2]).numpy() if len(shares) > 1 else np.ones(patch)


def tie_distance(
    source: spatial.Source, patch: Any, start: Any, drawn: spatial.Spatial, rules: spatial.Rules
) -> Any:
    """How far each voxel is from a tie, where either answer is right."""
    if rules.nearest:
        position = warp_torch.positions(patch, start, drawn).numpy()
        return np.abs(position - np.floor(position) - 0.5).min(0)
    return one_hot_margin(source, patch, start, drawn, rules)


@st.composite
def cases(draw: st.DrawFn) -> Any:
    in_plane = draw(st.booleans())
    # Rows shorter and longer than the lanes of the kernels, slices alone and in stacks.
    shape = draw(st.tuples(st.integers(2, 16), st.integers(2, 16), st.integers(1, 40)))
    depth = st.sampled_from([1, 2, 7, 8, 9, 16, 17, 31])
    patch = draw(st.tuples(st.integers(1, 12), st.integers(1, 20), depth))
    spacing = draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))
    start = draw(st.tuples(*[st.integers(-8, 12)] * 3))
    kinds = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()).filter(any))
    changed = AugmentationSettings(
        rotation_probability=float(kinds[0]),
        scaling_probability=float(kinds[1]),
        elastic_probability=float(kinds[2]),
        rotation_degrees=(180.0, 180.0, 180.0),
        elastic_displacement=(0.1, 0.4),
    )
    grid = spatial.Grid(patch, spacing, in_plane, (0, 1, 2))
    rules = spatial.Rules(in_plane, draw(st.booleans()), draw(st.sampled_from([0, 255])))
    return shape, grid, start, changed, rules, draw(st.integers(0, 2**32 - 1))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_kernels_agree_with_torch(case: Any) -> None:
    shape, grid, start, changed, rules, seed = case
    rng = np.random.default_rng(seed)
    source, out = smooth_case(rng, shape), target(2, grid.patch)
    drawn = spatial.draw(rng, changed, grid)
    spatial.apply(source, out, start, drawn, rules)
    image, label = warp_torch.warp(
        torch.from_numpy(source.image), torch.from_numpy(source.label), grid.patch, start, drawn, rules
    )
    np.testing.assert_allclose(out.image, image.numpy(), atol=1e-4)
    clear = tie_distance(source, grid.patch, start, drawn, rules) > 1e-4
    np.testing.assert_array_equal(out.label[clear], label.numpy()[clear])
    assert set(np.unique(out.label)) <= {*np.unique(source.label).tolist(), rules.outside}


@pytest.mark.parametrize("in_plane", [False, True])
@pytest.mark.parametrize("codes", [2, 9])
def test_far_from_the_origin_and_with_many_codes(in_plane: bool, codes: int) -> None:
    """Positions of several hundred voxels keep their fractions; most cells have more codes than two."""
    rng = np.random.default_rng(6)
    shape = (16, 600, 24) if in_plane else (16, 24, 600)
    image = rng.standard_normal((1, *shape)).astype(np.float32)
    source = spatial.Source(image, rng.integers(0, codes, shape).astype(np.uint8), np.ones(1, bool))
    grid = spatial.Grid((6, 40, 10) if in_plane else (6, 10, 40), (1.0, 1.2, 0.7), in_plane, (0, 1, 2))
    start, rules = ((5, 545, 9) if in_plane else (5, 7, 545)), spatial.Rules(in_plane)
    mild = replace(ALL, rotation_degrees=(20.0, 20.0, 20.0), rotation_in_plane_degrees=20.0)
    for _ in range(2):
        out, drawn = target(1, grid.patch), spatial.draw(rng, mild, grid)
        spatial.apply(source, out, start, drawn, rules)
        tensors = torch.from_numpy(source.image), torch.from_numpy(source.label)
        expected, label = warp_torch.warp(*tensors, grid.patch, start, drawn, rules)
        np.testing.assert_allclose(out.image, expected.numpy(), atol=1e-4)
        clear = one_hot_margin(source, grid.patch, start, drawn, rules) > 1e-4
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(out.label[clear], label.numpy()[clear])


@pytest.mark.parametrize("depth", [1, 9])
def test_a_single_slice_is_cut_from_a_stack(depth: int) -> None:
    rng = np.random.default_rng(7)
    source = smooth_case(rng, (60, 50, depth))
    grid, rules = spatial.Grid((30, 34, 1), (1.0, 0.8, 5.0), True, (0, 1)), spatial.Rules(True, outside=9)
    for k in (-1, 0, depth // 2, depth - 1, depth):
        out, drawn = target(2, grid.patch), spatial.draw(rng, ALL, grid)
        spatial.apply(source, out, (20, 10, k), drawn, rules)
        tensors = torch.from_numpy(source.image), torch.from_numpy(source.label)
        expected, label = warp_torch.warp(*tensors, grid.patch, (20, 10, k), drawn, rules)
        np.testing.assert_allclose(out.image, expected.numpy(), atol=1e-4)
        clear = one_hot_margin(source, grid.patch, (20, 10, k), drawn, rules) > 1e-4
        np.testing.assert_array_equal(out.label[clear], label.numpy()[clear])


def test_a_patch_is_the_same_from_a_memory_map_on_any_thread(tmp_path: Any) -> None:
    rng = np.random.default_rng(8)
    source, grid = smooth_case(rng, (40, 40, 40)), spatial.Grid((24, 24, 24), (1.0, 1.0, 1.0), False, (0,))
    np.save(tmp_path / "image.npy", source.image)
    np.save(tmp_path / "label.npy", source.label)
    mapped = spatial.Source(
        np.load(tmp_path / "image.npy", mmap_mode="r"),
        np.load(tmp_path / "label.npy", mmap_mode="r"),
        source.present,
    )
    drawn = [spatial.draw(rng, ALL, grid) for _ in range(8)]

    def patch(k: int, case: spatial.Source = mapped) -> tuple[Any, Any]:
        out = target(2, grid.patch)
        spatial.apply(case, out, (8, 8, 8), drawn[k], spatial.Rules(False))
        return out.image, out.label

    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(patch, range(8))):
            for one, other in zip(found, patch(k, source), strict=True):
                np.testing.assert_array_equal(one, other)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    rng = np.random.default_rng(9)
    source, grid = smooth_case(rng, (12, 12, 12)), spatial.Grid((8, 8, 8), (1.0, 1.0, 1.0), False, ())
    drawn = spatial.draw(rng, ALL, grid)
    for changed, out in (
        (replace(source, label=source.label[1:]), target(2, (8, 8, 8))),
        (source, target(1, (8, 8, 8))),
        (source, spatial.Target(np.zeros((2, 8, 8, 16), np.float32)[..., ::2], None)),
    ):
        with pytest.raises(ValueError, match=r"label|channels|contiguous"):
            spatial.apply(changed, out, (2, 2, 2), drawn, spatial.Rules(False))


def test_affine_agrees_with_simpleitk() -> None:
    rng = np.random.default_rng(2)
    spacing, patch, start = (0.8, 1.1, 2.5), (18, 16, 12), (5, 4, 3)
    source, grid = smooth_case(rng, (30, 26, 20), 1), spatial.Grid(patch, spacing, False, ())
    settings_ = AugmentationSettings(rotation_probability=1.0, scaling_probability=1.0)
    out, drawn = target(1, patch), spatial.draw(rng, settings_, grid)
    spatial.apply(source, out, start, drawn, spatial.Rules(False))
    assert drawn.matrix is not None
    scan = sitk.GetImageFromArray(source.image[0].T)
    scan.SetSpacing(spacing)
    box = sitk.Image([int(n) for n in patch], sitk.sitkFloat32)
    box.SetSpacing(spacing)
    box.SetOrigin([s * mm for s, mm in zip(start, spacing, strict=True)])
    turn = sitk.AffineTransform(3)
    scale = np.array(spacing)
    # In millimetres the matrix is a rotation times a scale: no shear, whatever the voxels.
    matrix = drawn.matrix * scale[:, None] / scale
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3) / drawn.scale**2, atol=1e-12)
    turn.SetMatrix(matrix.ravel())
    turn.SetCenter([(s + (n - 1) / 2) * mm for s, n, mm in zip(start, patch, spacing, strict=True)])
    expected = sitk.GetArrayFromImage(sitk.Resample(scan, box, turn, sitk.sitkLinear, 0.0)).T
    inside = expected != 0  # beyond the last voxel centre SimpleITK stops at once, ours fades out
    assert inside.mean() > 0.5
    np.testing.assert_allclose(out.image[0][inside], expected[inside], atol=1e-4)


@pytest.mark.parametrize("in_plane", [False, True])
def test_elastic_agrees_with_simpleitk(in_plane: bool) -> None:
    """ITK's own B-spline transform with the drawn control points, in millimetres."""
    rng = np.random.default_rng(5)
    spacing, patch, start = (0.8, 1.1, 2.5), (22, 20, 14), (6, 5, 4)
    source, grid = smooth_case(rng, (34, 32, 24), 1), spatial.Grid(patch, spacing, in_plane, ())
    bent = AugmentationSettings(elastic_probability=1.0, elastic_displacement=(0.3, 0.4), elastic_spacing=0.3)
    drawn = spatial.Spatial(elastic=spatial.draw(rng, bent, grid).elastic)
    assert drawn.elastic is not None
    out = target(1, patch)
    spatial.apply(source, out, start, drawn, spatial.Rules(in_plane))
    control, scale = drawn.elastic.control.astype(float), np.array(spacing)
    if in_plane:  # one point along the last axis stands for as many equal ones
        control = np.repeat(control, 4, axis=3)
    mesh = np.array(control.shape[1:]) - 3
    interval = np.where([False, False, in_plane], 1000.0, drawn.elastic.interval)
    spline = sitk.BSplineTransform(3, 3)
    spline.SetTransformDomainMeshSize([int(n) for n in mesh])
    spline.SetTransformDomainOrigin([s * mm for s, mm in zip(start, spacing, strict=True)])
    spline.SetTransformDomainPhysicalDimensions((mesh * interval * scale).tolist())
    spline.SetParameters(np.concatenate([(c * mm).T.ravel() for c, mm in zip(control, spacing, strict=True)]))
    scan = sitk.GetImageFromArray(source.image[0].T)
    scan.SetSpacing(spacing)
    box = sitk.Image([int(n) for n in patch], sitk.sitkFloat32)
    box.SetSpacing(spacing)
    box.SetOrigin([s * mm for s, mm in zip(start, spacing, strict=True)])
    expected = sitk.GetArrayFromImage(sitk.Resample(scan, box, spline, sitk.sitkLinear, 0.0)).T
    moved = sitk.GetArrayFromImage(sitk.Resample(scan, box, sitk.Transform(3, sitk.sitkIdentity))).T
    assert np.abs(expected - moved).max() > 0.5
    np.testing.assert_allclose(out.image[0], expected, atol=1e-4)


def test_elastic_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    patch, start = (17, 15, 13), (4, 4, 3)
    source, grid = smooth_case(rng, (26, 24, 20), 1), spatial.Grid(patch, (1.0, 1.5, 2.0), False, ())
    out = target(1, patch)
    bent = AugmentationSettings(elastic_probability=1.0, elastic_displacement=(0.4, 0.4))
    drawn = spatial.Spatial(elastic=spatial.draw(rng, bent, grid).elastic)
    spatial.apply(source, out, start, drawn, spatial.Rules(False))
    positions = warp_torch.positions(patch, start, drawn).numpy()
    expected = ndimage.map_coordinates(
        source.image[0].astype(float), positions, order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(out.image[0], expected, atol=1e-4)
    assert np.abs(positions - warp_torch.positions(patch, start, spatial.Spatial()).numpy()).max() > 0.3


def test_nothing_folds_at_the_largest_displacement() -> None:
    grid = spatial.Grid((24, 24, 24), (1.0, 1.0, 2.0), False, ())
    largest = AugmentationSettings(elastic_probability=1.0, elastic_displacement=(0.4, 0.4))
    for seed in range(5):
        bent = spatial.draw(np.random.default_rng(seed), largest, grid).elastic
        position = warp_torch.positions(grid.patch, (0, 0, 0), spatial.Spatial(elastic=bent)).numpy()
        jacobian = np.stack([np.stack(np.gradient(p), -1) for p in position], -2)
        assert np.linalg.det(jacobian).min() > 0


def test_missing_modality_stays_zero() -> None:
    rng = np.random.default_rng(4)
    source, grid = smooth_case(rng, (20, 20, 20)), spatial.Grid((12, 12, 12), (1.0, 1.0, 1.0), False, (0,))
    source = spatial.Source(source.image, source.label, np.array([True, False]))
    for changed in (ALL, AugmentationSettings.off()):
        out = target(2, grid.patch)
        spatial.apply(source, out, (4, 4, 4), spatial.draw(rng, changed, grid), spatial.Rules(False))
        assert out.image[0].any()
        assert not out.image[1].any()
