from __future__ import annotations

import numpy as np
import pytest

from medseg.patches.augment.intensity_kernels import LANES
from medseg.patches.augment.statistics import statistics


@pytest.mark.parametrize(("background", "first"), [(-0.51, 2.0), (40.3, -1024.0), (0.0, 0.0), (1e4, -1e4)])
def test_an_odd_first_voxel_does_not_spoil_the_spread(background: float, first: float) -> None:
    rng = np.random.default_rng(0)
    values = np.full(96**3, background, np.float32)
    values[rng.integers(1, values.size, 3000)] += rng.normal(size=3000).astype(np.float32)
    values[0] = first
    low, high, mean, std = statistics(values, np.empty(4 * LANES, np.float32))
    exact = values.astype(np.float64)
    assert (low, high) == (values.min(), values.max())
    assert mean == pytest.approx(exact.mean(), rel=1e-6, abs=1e-6)
    assert std == pytest.approx(exact.std(), rel=1e-3)
