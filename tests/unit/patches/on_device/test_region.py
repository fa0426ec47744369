"""What is read is what the patch needs, and no more."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from medseg.patches.augment import spatial
from medseg.patches.augment.spatial import Source
from medseg.patches.on_device.region import box_of, is_moved, read
from medseg.patches.sample import Drawn
from medseg.patches.settings import AugmentationSettings

from .made import MOVED, batches, scan, source_positions


@settings(max_examples=150, deadline=None)
@given(batches(replace(MOVED, elastic_probability=0.3)))
def test_the_box_holds_all_that_is_interpolated_and_fits_it(case: Any) -> None:
    sources, drawn, patch, _ = case
    deep = (*patch, 1) if len(patch) == 2 else patch
    for source, one in zip(sources, drawn, strict=True):
        shape = source.image.shape[1:]
        box = box_of(deep, shape, one)
        assert all(0 <= low <= high <= n for low, high, n in zip(box.low, box.high, shape, strict=True))
        where = source_positions(one, deep).reshape(3, -1)
        slack = np.zeros(3)
        if one.spatial.elastic is not None:
            control = one.spatial.elastic.control
            slack = control.max((1, 2, 3)) - control.min((1, 2, 3))
        beyond = 2 if is_moved(one.spatial) else 1
        # The first and the last voxel of non-zero weight; one more may be read.
        first = np.clip(np.floor(where.min(1) + 1e-6), 0, shape)
        last = np.clip(np.ceil(where.max(1) - 1e-6) + 1, 0, shape)
        if (last > first).all():
            assert (np.array(box.low) <= first).all()
            assert (np.array(box.high) >= last).all()
        assert (np.array(box.low) >= np.clip(np.floor(where.min(1) - slack - 1e-6), 0, shape)).all()
        assert (np.array(box.high) <= np.clip(np.floor(where.max(1) + slack + 1e-6) + beyond, 0, shape)).all()


def test_of_a_large_scan_little_is_read() -> None:
    """At most the box around a sphere of the patch's diagonal, however large the scan is."""
    patch, shape = (96, 96, 96), (384, 384, 384)
    grid = spatial.Grid(patch, (1.0, 1.0, 1.0), False, (0, 1, 2))
    sizes: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(300):
        change = spatial.draw(np.random.default_rng(seed), AugmentationSettings(), grid)
        drawn = Drawn((144, 144, 144), change, [], np.ones(1, bool))
        sizes[is_moved(change)].append(math.prod(box_of(patch, shape, drawn).size) / 96**3)
    assert set(sizes[False]) == {1.0}
    assert max(sizes[True]) < (1 / 0.7) ** 3 * (math.cos(math.radians(30)) + 2 * 0.5) ** 3
    assert np.mean(sizes[True] + sizes[False]) < 2.5


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int16])
def test_only_present_modalities_are_read_in_the_stores_precision(tmp_path: Path, kind: type[Any]) -> None:
    source = scan(np.random.default_rng(1), (20, 18, 16), 3)
    stored = np.memmap(tmp_path / "image", dtype=kind, mode="w+", shape=source.image.shape)
    stored[...] = (100 * source.image).astype(kind)
    drawn = Drawn((4, 3, 2), spatial.Spatial(), [], np.array([True, False, True]))
    region = read(Source(stored, source.label, source.present), (8, 6, 4), drawn, "case", (0, 0))
    assert region.box.size == (8, 6, 4)
    assert region.voxels.dtype == torch.float32
    expected = stored[[0, 2], 4:12, 3:9, 2:6].astype(np.float32)
    np.testing.assert_array_equal(region.voxels.numpy(), expected.ravel())
    assert region.codes is not None
    assert source.label is not None
    np.testing.assert_array_equal(region.codes.numpy(), source.label[4:12, 3:9, 2:6].ravel())


def test_what_does_not_fit_is_refused() -> None:
    source = scan(np.random.default_rng(1), (20, 18, 16), 2)
    drawn = Drawn((4, 3, 2), spatial.Spatial(), [], np.ones(1, bool))
    with pytest.raises(ValueError, match="1 modalities of a patch from 2"):
        read(source, (8, 6, 4), drawn, "case", (0, 0))
    assert source.label is not None
    cut = Source(source.image, source.label[1:], source.present)
    with pytest.raises(ValueError, match="label"):
        read(cut, (8, 6, 4), replace(drawn, present=np.ones(2, bool)), "case", (0, 0))
