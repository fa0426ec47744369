from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.inference.neighbours import Neighbours


@settings(deadline=None)
@given(data=st.data(), slices=st.sampled_from([1, 3, 5, 7]))
def test_every_box_is_what_the_stacked_volume_has(data: st.DataObject, slices: int) -> None:
    shape = data.draw(st.tuples(*(st.integers(1, 5) for _ in range(4))))
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    m, w, h, d = shape
    whole = np.zeros((m, slices, w, h, d), np.float32)
    for k in range(slices):
        for z in range(d):
            if 0 <= z + k - slices // 2 < d:
                whole[:, k, ..., z] = image[..., z + k - slices // 2]
    stacked = Neighbours(image, slices)
    assert stacked.shape == (m * slices, w, h, d)
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in (w, h, d)]
    i, j, k = (slice(low, max(high, low + 1)) for low, high in bounds)
    if k.start >= d:
        k = slice(d - 1, d)
    expected = whole.reshape(m * slices, w, h, d)[:, i, j, k]
    np.testing.assert_array_equal(stacked[slice(None), i, j, slice(k.start, min(k.stop, d))], expected)
