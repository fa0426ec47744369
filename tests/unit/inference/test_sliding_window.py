import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.inference.sliding_window import score_planes
from medseg.inference.windows import WindowGrid, gaussian


def position_score(window, channels=3, modalities=2, seed=0):
    """A score that depends on where in its window a voxel lies, so that no mistake in placing hides."""
    generator = np.random.Generator(np.random.Philox(seed))
    kernel = torch.from_numpy(generator.normal(size=(channels, modalities, *window)).astype(np.float32))
    return lambda windows: torch.einsum("bmwhd,kmwhd->bkwhd", windows, kernel)


def naive(image, score, grid):
    """Whole volumes of sums and of weights, in numpy."""
    pad = [max(w - n, 0) for w, n in zip(grid.window, grid.shape, strict=True)]
    padded = np.pad(image, [(0, 0), *((p, p) for p in pad)])
    weight = np.einsum("a,b,c->abc", *(gaussian(n) for n in grid.window))
    sums, counts = None, np.zeros(padded.shape[1:])
    for corner in grid.ordered(0):
        box = tuple(slice(c + p, c + p + w) for c, p, w in zip(corner, pad, grid.window, strict=True))
        scores = score(torch.from_numpy(padded[(slice(None), *box)][None])).numpy()[0]
        sums = np.zeros((len(scores), *counts.shape)) if sums is None else sums
        sums[(slice(None), *box)] += scores * weight
        counts[box] += weight
    inside = tuple(slice(p, p + n) for p, n in zip(pad, grid.shape, strict=True))
    return sums[(slice(None), *inside)] / counts[inside]


def stacked(image, score, grid, axis, batch):
    return np.stack([p.numpy() for p in score_planes(image, score, grid, axis, batch)], axis=1 + axis)


sizes = st.tuples(*[st.integers(1, 13)] * 3)
windows = st.tuples(*[st.integers(1, 7)] * 3)


@settings(deadline=None, max_examples=60)
@given(
    shape=sizes,
    window=windows,
    overlap=st.floats(0, 0.9),
    axis=st.integers(0, 2),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_equals_whole_volumes_of_sums_and_weights(*, shape, window, overlap, axis, batch, seed):
    image = np.random.Generator(np.random.Philox(seed)).normal(size=(2, *shape)).astype(np.float32)
    grid = WindowGrid.over(shape, window, overlap)
    score = position_score(window, seed=seed)
    expected = naive(image, score, grid)
    found = stacked(image, score, grid, axis, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_neither_batch_nor_axis_changes_the_result():
    image = np.random.Generator(np.random.Philox(1)).normal(size=(2, 17, 11, 9)).astype(np.float32)
    grid = WindowGrid.over((17, 11, 9), (6, 4, 5), 0.5)
    score = position_score((6, 4, 5))
    whole = stacked(image, score, grid, 0, 1)
    for batch in (2, 3, 1000):
        np.testing.assert_array_equal(stacked(image, score, grid, 0, batch), whole)
    for axis in (1, 2):
        np.testing.assert_allclose(stacked(image, score, grid, axis, 2), whole, rtol=1e-5, atol=1e-6)


def test_a_constant_score_stays_constant_up_to_the_corners():
    image = np.zeros((1, 20, 20, 20), np.float32)
    grid = WindowGrid.over((20, 20, 20), (16, 16, 16), 0.5)
    found = stacked(image, lambda w: torch.full((len(w), 2, 16, 16, 16), 0.7), grid, 2, 4)
    np.testing.assert_allclose(found, 0.7, rtol=1e-5)


def test_planes_come_before_the_last_window_is_scored():
    calls = []

    def score(windows):
        calls.append(len(windows))
        return windows[:, :1]

    image = np.zeros((1, 64, 4, 4), np.float32)
    planes = score_planes(image, score, WindowGrid.over((64, 4, 4), (8, 4, 4), 0.5), 0, 1)
    next(planes)
    assert len(calls) == 2
    assert sum(1 for _ in planes) == 63


MEMORY = """
    import resource, sys
    import numpy as np, torch
    from medseg.inference.sliding_window import score_planes
    from medseg.inference.windows import WindowGrid
    torch.set_num_threads(1)
    image = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (1, int(sys.argv[1]), 64, 64), (0,) * 4)
    grid = WindowGrid.over(image.shape[1:], (32, 64, 64), 0.5)
    planes = score_planes(image, lambda w: w.expand(-1, 16, -1, -1, -1).contiguous(), grid, 0, 1)
    total = sum(float(plane.sum()) for plane in planes)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_memory_does_not_grow_with_the_volume():
    def peak(length):
        command = [sys.executable, "-c", textwrap.dedent(MEMORY), str(length)]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        return int(done.stdout) * (1 if sys.platform != "darwin" else 1 / 1024)

    # Scores of the longer volume would take 16 x 1024 x 64 x 64 x 4 bytes = 256 MiB, the ring takes 8.
    assert peak(1024) - peak(64) < 24 * 1024
