import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.contracts import Labels
from medseg.data.geometry import Geometry, restore_codes
from medseg.data.resample import interpolation_matrix
from medseg.inference.maps import collected
from medseg.inference.restore import TIE, decide, file_values, matrices_back, resampled_planes

from .toys import TWO_CLASSES

REGIONS = Labels(("WT", "TC", "ET"), ((1, 2, 4), (1, 4), (4,)), overlapping=True)


def geometry(
    shape=(5, 6, 4),
    crop=((1, 10), (0, 7), (2, 8)),
    oriented=(12, 7, 9),
    permutation=(2, 0, 1),
    flips=(True, False, True),
    *,
    spatial_dims=3,
    target=(2.0, 1.2, 1.5),
):
    original = [0, 0, 0]
    for axis, n in zip(permutation, oriented, strict=True):
        original[axis] = n
    return Geometry(
        original_shape=tuple(original),
        affine=tuple(map(tuple, np.eye(4).tolist())),
        permutation=permutation,
        flips=flips,
        crop=crop,
        spacing=(1.0, 1.0, 1.0),
        target_spacing=target,
        shape=shape,
        spatial_dims=spatial_dims,
    )


def planes_of(scores, axis):
    return iter(torch.from_numpy(scores).movedim(1 + axis, 0).contiguous())


def random_scores(shape, channels, seed):
    scores = np.random.Generator(np.random.Philox(seed)).random((channels, *shape), dtype=np.float32)
    return scores / scores.sum(axis=0)


def naive_scores(scores, geometry):
    """All axes of the whole volume at once, in double precision."""
    a, b, c = (
        interpolation_matrix(n, m, order)
        for n, m, order in zip(geometry.shape, geometry.cropped_shape, geometry.orders_back(1), strict=True)
    )
    return np.einsum("xi,yj,zk,nijk->nxyz", a, b, c, scores.astype(np.float64), optimize=True)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.integers(0, 2),
    st.integers(0, 99),
)
def test_planes_equal_whole_volumes(store, cropped, axis, seed):
    scores = random_scores(store, 3, seed)
    case = geometry(store, tuple((0, n) for n in cropped), cropped, (0, 1, 2), (False,) * 3)
    planes = resampled_planes(planes_of(scores, axis), matrices_back(case), axis)
    found = torch.stack(list(planes), dim=1 + axis).numpy()
    np.testing.assert_allclose(found, naive_scores(scores, case), rtol=0, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dims", [2, 3])
def test_label_maps_equal_the_naive_way_back(axis, dims):
    case = geometry(spatial_dims=dims)
    scores = random_scores(case.shape, 3, 7)
    whole = naive_scores(scores, case)
    best = np.sort(whole, axis=0)
    clear = best[-1] - best[-2] > 1e-4
    assert clear.mean() > 0.99
    turned = np.zeros(case.oriented_shape, np.uint8)
    sure = np.ones(case.oriented_shape, bool)
    turned[case.crop_slices] = whole.argmax(axis=0)
    sure[case.crop_slices] = clear

    planes = resampled_planes(planes_of(scores, axis), matrices_back(case), axis)
    found = file_values(TWO_CLASSES)[collected(planes, case, axis, TWO_CLASSES).codes]

    assert found.shape == case.original_shape
    assert found.flags["C_CONTIGUOUS"]
    for place in np.argwhere(sure)[:: 1 if dims == 3 else 3]:
        there = [0, 0, 0]
        for a, (behind, flip, n) in enumerate(
            zip(case.permutation, case.flips, case.oriented_shape, strict=True)
        ):
            there[behind] = n - 1 - place[a] if flip else place[a]
        assert found[tuple(there)] == turned[tuple(place)]


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2), st.integers(0, 999))
def test_one_hot_scores_come_back_as_the_codes_do(store, axis, seed):
    """An independent implementation, with the same rule for ties, of the same way back."""
    codes = np.random.Generator(np.random.Philox(seed)).integers(0, 3, size=store).astype(np.uint8)
    case = geometry(store)
    one_hot = np.stack([codes == k for k in range(3)]).astype(np.float32)
    planes = resampled_planes(planes_of(one_hot, axis), matrices_back(case), axis)
    np.testing.assert_array_equal(
        file_values(TWO_CLASSES)[collected(planes, case, axis, TWO_CLASSES).codes], restore_codes(codes, case)
    )


def test_nothing_is_resampled_where_sizes_agree():
    case = geometry((9, 7, 6))
    assert matrices_back(case) == [None, None, None]
    scores = random_scores((9, 7, 6), 3, 0)
    planes = list(resampled_planes(planes_of(scores, 1), matrices_back(case), 1))
    np.testing.assert_array_equal(torch.stack(planes, dim=2).numpy(), scores)


def test_slices_of_a_2d_plan_are_not_mixed():
    case = geometry((5, 6, 4), spatial_dims=2, target=(2.0, 1.2, 1.0))
    assert set(np.unique(matrices_back(case)[2])) == {0.0, 1.0}


def test_a_tie_goes_to_the_lower_class_whatever_the_rounding():
    scores = torch.tensor([[0.5, 0.2, 0.3], [0.5 + TIE / 2, 0.4, 0.3], [0.0, 0.4, 0.4]])
    assert decide(scores, TWO_CLASSES).tolist() == [0, 1, 2]


def test_regions_are_painted_from_the_outermost_inwards():
    scores = torch.tensor([[0.9, 0.9, 0.9, 0.1, 0.5], [0.1, 0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.8, 0.7, 0.1]])
    winner = decide(scores, REGIONS)
    assert winner.tolist() == [1, 2, 3, 3, 0]
    assert file_values(REGIONS)[winner].tolist() == [2, 1, 4, 4, 0]


def test_file_values_take_the_smallest_type():
    assert file_values(TWO_CLASSES).dtype == np.uint8
    assert file_values(Labels(("a",), ((300,),))).dtype == np.uint16
    assert file_values(Labels(("a",), ((-1,),))).tolist() == [0, -1]


def test_missing_planes_are_an_error():
    case = geometry((9, 7, 6))
    planes = list(planes_of(random_scores((9, 7, 6), 3, 0), 0))[:-1]
    with pytest.raises(ValueError, match="shorter"):
        collected(iter(planes), case, 0, TWO_CLASSES)
