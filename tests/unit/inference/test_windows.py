import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.inference.windows import WindowGrid, gaussian, stretched, window_starts


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 60), st.integers(1, 30), st.floats(0, 0.95))
def test_windows_cover_the_axis_and_overlap_enough(size, window, overlap):
    starts = window_starts(size, window, overlap)
    covered = np.zeros(size, bool)
    for start in starts:
        covered[max(start, 0) : start + window] = True
    assert covered.all()
    assert list(starts) == sorted(set(starts))
    if size <= window:
        assert len(starts) == 1
        assert starts[0] == -((window - size) // 2)
        return
    assert starts[0] == 0
    assert starts[-1] == size - window
    assert max(np.diff(starts)) <= max(1, int(window * (1 - overlap) + 1e-9))


def test_half_overlap_is_the_usual_number_of_windows():
    assert window_starts(240, 128, 0.5) == (0, 56, 112)
    assert window_starts(155, 128, 0.5) == (0, 27)
    assert window_starts(128, 128, 0.5) == (0,)


def test_gaussian_is_symmetric_with_sigma_an_eighth():
    weights = gaussian(64)
    assert np.array_equal(weights, weights[::-1])
    assert weights[32 + 8] / weights[32] == pytest.approx(np.exp(-0.5 * ((8.5 / 8) ** 2 - (0.5 / 8) ** 2)))
    assert gaussian(1) == [1.0]


def test_total_weight_is_the_sum_over_windows():
    grid = WindowGrid.over((11, 5, 20), (4, 8, 6), 0.5)
    counts = np.zeros((11, 5 + 16, 20))
    weight = np.einsum("a,b,c->abc", gaussian(4), gaussian(8), gaussian(6))
    for i, j, k in grid.ordered(1):
        counts[i : i + 4, j + 8 : j + 16, k : k + 6] += weight
    product = np.einsum("a,b,c->abc", *(grid.total_weight(a) for a in range(3)))
    np.testing.assert_allclose(counts[:, 8:13], product, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_order_goes_along_the_axis_once(axis):
    grid = WindowGrid.over((9, 9, 9), (4, 4, 4), 0.5)
    corners = list(grid.ordered(axis))
    assert len(set(corners)) == len(corners) == 4**3
    along = [corner[axis] for corner in corners]
    assert along == sorted(along)


def test_the_ring_goes_along_the_axis_where_it_is_smallest():
    assert WindowGrid.over((240, 240, 155), (128, 128, 64), 0.5).cheapest_axis() == 2
    assert WindowGrid.over((300, 40, 40), (32, 32, 32), 0.5).cheapest_axis() == 0
    assert WindowGrid.over((64, 64, 10), (64, 64, 1), 0.5).cheapest_axis() == 2


@pytest.mark.parametrize(
    ("size", "window", "step", "expected"),
    [
        (42, 40, 8, 48),
        (59, 56, 8, 64),
        (50, 40, 8, 40),  # 56 would be more than a quarter longer
        (40, 40, 8, 40),
        (30, 40, 8, 40),
        (5, 4, 1, 5),
        (2, 1, 1, 1),  # a slice stays one
        (300, 40, 8, 40),
    ],
)
def test_a_window_grows_a_little_to_hold_a_whole_axis(size, window, step, expected):
    assert stretched(size, window, step) == expected
