from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize

from medseg.data.resample import (
    axis_orders,
    interpolation_matrix,
    nearest_index,
    resample_codes,
    resample_image,
    resampled_shape,
)

sizes = st.integers(1, 40)
shapes = st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 14))


@settings(deadline=None, max_examples=150)
@given(sizes, sizes, st.sampled_from([1, 3]), st.integers(0, 99))
def test_a_matrix_is_what_scipy_does(n_in, n_out, order, seed):
    line = np.random.default_rng(seed).normal(size=n_in)
    expected = resize(line, (n_out,), order=order, mode="edge", anti_aliasing=False, clip=False)
    # SciPy treats an axis of one voxel apart from all others: there every method is constant.
    expected = np.full(n_out, line[0]) if n_in == 1 else expected
    np.testing.assert_allclose(interpolation_matrix(n_in, n_out, order) @ line, expected, atol=1e-7)


@settings(deadline=None, max_examples=100)
@given(sizes, sizes)
def test_order_0_takes_the_voxel_whose_cell_holds_the_centre(n_in, n_out):
    index = nearest_index(n_in, n_out)
    centre = (np.arange(n_out) + 0.5) * n_in / n_out
    assert ((index <= centre + 1e-9) & (centre <= index + 1 + 1e-9)).all()
    np.testing.assert_array_equal(interpolation_matrix(n_in, n_out, 0).argmax(axis=1), index)


@settings(deadline=None, max_examples=100)
@given(sizes, sizes, st.sampled_from([0, 1, 3]))
def test_constants_are_preserved_and_equal_sizes_are_the_identity(n_in, n_out, order):
    matrix = interpolation_matrix(n_in, n_out, order)
    assert matrix.shape == (n_out, n_in)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_array_equal(interpolation_matrix(n_in, n_in, order), np.eye(n_in))


def test_other_orders_and_empty_axes_are_refused():
    for arguments in ((3, 4, 2), (0, 4, 1), (3, 0, 1)):
        with pytest.raises(ValueError, match="cannot resample"):
            interpolation_matrix(*arguments)


@settings(deadline=None, max_examples=40)
@given(shapes, shapes, st.integers(0, 99))
def test_a_volume_agrees_with_scipy_in_three_dimensions(old, new, seed):
    image = np.random.default_rng(seed).normal(size=(2, *old)).astype(np.float32)
    ours = resample_image(image, new, (3, 3, 3))
    assert ours.shape == (2, *new)
    assert ours.dtype == np.float32
    factors = [1 if n == 1 else m / n for n, m in zip(old, new, strict=True)]
    for channel in range(2):
        theirs = ndimage.zoom(
            image[channel].astype(np.float64), factors, order=3, mode="nearest", grid_mode=True
        )
        repeats = [m if n == 1 else 1 for n, m in zip(old, new, strict=True)]
        np.testing.assert_allclose(ours[channel], np.tile(theirs, repeats), atol=2e-4)


def test_large_axes_are_multiplied_in_bands_and_still_agree_with_scipy():
    image = np.random.default_rng(0).normal(size=(1, 150, 9, 7)).astype(np.float32)
    for shape in ((211, 9, 7), (97, 9, 7)):
        theirs = ndimage.zoom(
            image[0].astype(np.float64), (shape[0] / 150, 1, 1), order=3, mode="nearest", grid_mode=True
        )
        np.testing.assert_allclose(resample_image(image, shape, (3, 3, 3))[0], theirs, atol=2e-5)


def test_mixed_orders_take_slices_whole():
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 5)).astype(np.float32)
    grown = resample_image(image, (16, 16, 10), (3, 3, 0))
    in_plane = resample_image(image, (16, 16, 5), (3, 3, 3))
    np.testing.assert_array_equal(grown, in_plane[..., np.repeat(np.arange(5), 2)])


@settings(deadline=None, max_examples=60)
@given(shapes, shapes, st.integers(0, 99), st.sampled_from([(1, 1, 1), (1, 1, 0), (0, 0, 0), (3, 3, 3)]))
def test_labels_never_get_a_number_that_was_not_there(old, new, seed, orders):
    codes = np.random.default_rng(seed).choice(np.array([0, 1, 7, 255], np.uint8), size=old)
    result = resample_codes(codes, new, orders)
    assert result.shape == new
    assert result.dtype == np.uint8
    assert set(np.unique(result)) <= set(np.unique(codes))


@settings(deadline=None, max_examples=30)
@given(shapes, shapes, st.integers(0, 99))
def test_labels_are_the_argmax_of_the_interpolated_one_hot(old, new, seed):
    codes = np.random.default_rng(seed).integers(0, 4, old).astype(np.uint8)
    one_hot = np.stack([(codes == code).astype(np.float32) for code in range(4)])
    shares = resample_image(one_hot, new, (1, 1, 1))
    result = resample_codes(codes, new, (1, 1, 1))
    chosen = np.take_along_axis(shares, result[None].astype(int), axis=0)[0]
    assert (chosen >= shares.max(axis=0) - 2e-6).all()
    np.testing.assert_array_equal(resample_codes(codes, old, (1, 1, 1)), codes)


def test_labels_in_slabs_equal_labels_at_once(monkeypatch):
    codes = np.random.default_rng(1).integers(0, 3, (30, 20, 10)).astype(np.uint8)
    at_once = resample_codes(codes, (41, 25, 13), (1, 1, 1))
    monkeypatch.setattr("medseg.data.resample.SLAB_VOXELS", 25 * 13 * 3)
    np.testing.assert_array_equal(resample_codes(codes, (41, 25, 13), (1, 1, 1)), at_once)


def test_the_coarse_axis_alone_is_not_interpolated():
    assert axis_orders((1, 1, 1), (2, 2, 2), 3) == (3, 3, 3)
    assert axis_orders((1, 1, 5), (1, 1, 4), 3) == (3, 3, 0)
    assert axis_orders((5, 1, 1), (1, 1, 1), 3) == (0, 3, 3)
    assert axis_orders((1, 1, 1), (1, 6, 1), 3) == (3, 0, 3)
    assert axis_orders((1, 4, 4), (1, 4, 4), 3) == (3, 3, 3)
    assert axis_orders((1, 1, 1), (2, 2, 1), 1, in_plane=True) == (1, 1, 0)


def test_the_extent_in_mm_is_kept():
    assert resampled_shape((10, 20, 5), (1.0, 0.5, 4.0), (2.0, 1.0, 1.0)) == (5, 10, 20)
    assert resampled_shape((1, 1, 1), (0.1, 1, 1), (5, 1, 1)) == (1, 1, 1)
