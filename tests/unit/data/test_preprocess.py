from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cohort import LABELS, a_plan, axis_affine, volume

from medseg.contracts import IGNORE, Labels
from medseg.data.geometry import (
    Geometry,
    nonzero_box,
    orientation,
    orientation_code,
    restore_codes,
    turn,
    turn_back,
)
from medseg.data.preprocess import labelled_positions, preprocess_case
from medseg.errors import Problems, UserError

TURNS = [
    (permutation, flips)
    for permutation in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


def scan(seed=0, shape=(9, 8, 7), margin=1):
    """An image with a zero margin, and codes inside it."""
    random = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    inside = tuple(slice(margin, n - margin) for n in shape)
    image[inside] = random.normal(100, 10, image[inside].shape)
    codes = np.zeros(shape, np.uint8)
    codes[inside] = random.choice(np.array([0, 1, 2, IGNORE], np.uint8), codes[inside].shape)
    return image, codes


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(*[st.integers(4, 9)] * 3),
    st.tuples(*[st.sampled_from([0.5, 1.0, 2.5, 7.0])] * 3),
    st.permutations(range(3)),
    st.sampled_from([2, 3]),
    st.integers(0, 99),
)
def test_all_48_orientations_come_back_voxel_for_voxel(shape, spacing, axes, dims, seed):
    for permutation, flips in TURNS:
        affine = axis_affine(permutation, flips, spacing)
        image, codes = scan(seed, shape)
        in_ras = [spacing[permutation.index(axis)] for axis in range(3)]
        plan = a_plan(tuple(in_ras[axis] for axis in axes), tuple(axes), dims)
        done = preprocess_case({"MR": volume(image, affine)}, volume(codes, affine), plan, LABELS)
        assert done.geometry.shape == done.geometry.cropped_shape == done.image.shape[1:]
        again = Geometry.from_dict(json.loads(json.dumps(done.geometry.to_dict())))
        assert again == done.geometry
        np.testing.assert_array_equal(restore_codes(done.label, again), codes)


def test_a_turned_file_gives_the_same_arrays():
    image, codes = scan()
    straight = preprocess_case({"MR": volume(image)}, volume(codes), a_plan((1.3, 1.0, 1.1)), LABELS)
    for permutation, flips in TURNS:
        turned_image, turned_codes = (turn(array, permutation, flips) for array in (image, codes))
        affine = axis_affine(permutation, flips, (1, 1, 1))
        done = preprocess_case(
            {"MR": volume(turned_image, affine)},
            volume(turned_codes, affine),
            a_plan((1.3, 1.0, 1.1)),
            LABELS,
        )
        np.testing.assert_allclose(done.image, straight.image, atol=1e-5)
        np.testing.assert_array_equal(done.label, straight.label)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(TURNS), st.tuples(*[st.floats(-0.3, 0.3)] * 3))
def test_oblique_affines_take_the_nearest_axes(way, angles):
    permutation, flips = way
    affine = axis_affine(permutation, flips, (1.0, 2.0, 3.0))
    for axis, angle in enumerate(angles):
        rotation = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        rotation[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        affine[:3, :3] = rotation @ affine[:3, :3]
    behind, turned = orientation(affine)
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    columns = direction[:, behind] * np.where(turned, -1, 1)
    assert (np.diag(columns) > 0.5).all()


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(5, 14)] * 3), st.tuples(*[st.floats(0.4, 3.0)] * 3), st.sampled_from(TURNS))
def test_after_resampling_the_grid_is_the_original_again(shape, spacing, way):
    image, codes = scan(1, shape)
    affine = axis_affine(*way, spacing)
    done = preprocess_case({"MR": volume(image, affine)}, volume(codes, affine), a_plan(), LABELS)
    back = restore_codes(done.label, done.geometry)
    assert back.shape == shape
    assert back.flags.c_contiguous
    assert set(np.unique(back)) <= {0, *np.unique(codes)}


def test_a_smooth_object_survives_resampling():
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 36, 20)], indexing="ij"))
    codes = ((grid**2).sum(0) < 0.6).astype(np.uint8)
    image = codes * 50 + 10.0
    affine = np.diag([1.0, 1.1, 2.0, 1.0])
    plan = a_plan((1.5, 1.5, 1.5))
    done = preprocess_case({"MR": volume(image, affine)}, volume(codes, affine), plan, LABELS)
    back = restore_codes(done.label, done.geometry)
    dice = 2 * (back & codes).sum() / (back.sum() + codes.sum())
    assert dice > 0.97
    assert done.label.mean() == pytest.approx(codes.mean(), abs=0.01)


def test_two_dimensional_plans_leave_the_slices_alone():
    image, codes = scan(shape=(12, 10, 7), margin=0)
    affine = np.diag([1.0, 1.0, 9.0, 1.0])
    plan = a_plan((2.0, 2.0, 5.0), dims=2)
    done = preprocess_case({"MR": volume(image, affine)}, volume(codes, affine), plan, LABELS)
    assert done.image.shape == (1, 6, 5, 7)
    assert done.geometry.target_spacing == (2.0, 2.0, 9.0)
    picture = preprocess_case({"MR": volume(image[..., :1])}, None, a_plan(dims=2), LABELS)
    assert picture.image.shape == (1, 12, 10, 1)


def test_a_missing_modality_is_zero_and_said():
    image, _ = scan()
    plan = a_plan(modalities=("T1", "T2"))
    done = preprocess_case({"T2": volume(image)}, None, plan, LABELS)
    assert done.present.tolist() == [False, True]
    assert not done.image[0].any()
    assert done.image[1].any()
    assert done.label is None


def test_no_label_is_cut_off_and_ignored_voxels_do_not_widen_the_box():
    image, codes = np.zeros((10, 10, 10), np.float32), np.zeros((10, 10, 10), np.uint8)
    image[4:6, 4:6, 4:6] = 1
    codes[8, 4, 4], codes[0, 0, 0] = 1, IGNORE
    done = preprocess_case({"MR": volume(image)}, volume(codes), a_plan(), LABELS)
    assert done.geometry.crop == ((4, 9), (4, 6), (4, 6))
    assert (done.label == 1).sum() == 1
    empty = preprocess_case({"MR": volume(image * 0)}, None, a_plan(), LABELS)
    assert empty.geometry.cropped_shape == (10, 10, 10)
    assert not empty.image.any()


def test_everything_wrong_with_a_case_is_said_at_once():
    image, codes = scan()
    broken = image.copy()
    broken[3, 3, 3] = np.inf
    moved = np.eye(4)
    moved[0, 3] = 5
    volumes = {"T1": volume(broken), "T2": volume(image, moved)}
    names = {"T1": "scans/a_T1.nii", "T2": "scans/a_T2.nii", "label": "labels/a.nii"}
    plan = a_plan(modalities=("T1", "T2"))
    with pytest.raises(Problems) as found:
        preprocess_case(volumes, volume(codes[1:]), plan, Labels(("a",), ((1,),)), names)
    text = str(found.value)
    assert "scans/a_T1.nii: 1 voxels are NaN or infinite" in text
    assert "scans/a_T2.nii: the voxels lie up to 5 mm elsewhere than in scans/a_T1.nii" in text
    assert "labels/a.nii: another shape" in text
    assert "labels/a.nii: codes [2] are not declared" in text
    with pytest.raises(UserError, match="no modality at all"):
        preprocess_case({}, None, plan, LABELS)
    with pytest.raises(UserError, match="no modality of the plan"):
        preprocess_case({"CT": volume(image)}, None, plan, LABELS)
    with pytest.raises(UserError, match="singular"):
        preprocess_case({"T1": volume(image, np.diag([1.0, 1, 0, 1]))}, None, plan, LABELS)


def test_numbers_beyond_float32_are_refused():
    image = np.full((4, 4, 4), 1e300)
    with pytest.raises(Problems, match="infinite"), np.errstate(over="ignore"):
        preprocess_case({"MR": volume(image)}, None, a_plan(), LABELS)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(TURNS), st.integers(0, 9))
def test_turning_back_undoes_turning(way, seed):
    array = np.random.default_rng(seed).integers(0, 9, (3, 4, 5))
    np.testing.assert_array_equal(turn_back(turn(array, *way), *way), array)


def test_orientation_codes():
    assert orientation_code(np.eye(4)) == "RAS"
    assert orientation_code(np.diag([-1.0, -1, 1, 1])) == "LPS"
    assert orientation_code(axis_affine((2, 0, 1), (True, False, True), (1, 1, 1))) == "IRP"
    with pytest.raises(UserError, match="NaN"):
        orientation(np.full((4, 4), np.nan), "scan.nii")


def test_boxes_hold_every_nonzero_voxel():
    one, other = np.zeros((2, 5, 6, 7))
    one[1, 2, 3], other[3, 4, 0] = 1, -1
    assert nonzero_box([one]) == ((1, 2), (2, 3), (3, 4))
    assert nonzero_box([one, other]) == ((1, 4), (2, 5), (0, 4))
    assert nonzero_box([one * 0]) == ((0, 5), (0, 6), (0, 7))


def test_codes_of_another_grid_are_refused():
    done = preprocess_case({"MR": volume(scan()[0])}, None, a_plan(), LABELS)
    with pytest.raises(ValueError, match="not on the store's grid"):
        restore_codes(np.zeros((2, 2, 2), np.uint8), done.geometry)
    assert replace(done.geometry, flips=(True, False, False)) != done.geometry


def test_positions_are_true_seeded_and_few():
    codes = np.random.default_rng(0).choice(np.array([0, 1, 2, IGNORE], np.uint8), (20, 20, 20))
    found = labelled_positions(codes, [5], most=100)
    assert set(found) == {1, 2}
    for code, positions in found.items():
        assert positions.shape == (100, 3)
        assert (codes[tuple(positions.T)] == code).all()
        assert len(np.unique(positions, axis=0)) == 100
    again = labelled_positions(codes, [5], most=100)
    assert all((found[code] == again[code]).all() for code in found)
    assert (labelled_positions(codes, [6], most=100)[1] != found[1]).any()
    assert len(labelled_positions(codes, [5])[1]) == (codes == 1).sum()


def test_a_single_slice_across_a_two_dimensional_plan_is_refused():
    image = np.ones((8, 9, 1), np.float32)
    plan = a_plan(dims=2)
    assert preprocess_case({"MR": volume(image)}, None, plan, LABELS).geometry.shape == (8, 9, 1)
    coronal = axis_affine((0, 2, 1), (False,) * 3, (1, 1, 1))
    with pytest.raises(UserError, match="MR: its slice lies across"):
        preprocess_case({"MR": volume(image, coronal)}, None, plan, LABELS)
    turned = replace(plan, axes=(0, 2, 1))
    done = preprocess_case({"MR": volume(image, coronal)}, None, turned, LABELS)
    assert done.geometry.shape == (8, 9, 1)
