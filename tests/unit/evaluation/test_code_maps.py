"""Counting and cutting of label maps against numpy, however the arrays lie in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.evaluation.code_maps import CodeMaps

SHAPES = st.sampled_from([(3, 4, 5), (2, 3, 70), (1, 6, 9), (7, 5, 1), (4, 1, 20), (1, 1, 1), (9, 8), (17,)])
CODES = st.sampled_from([0, 0, 0, 1, 2, 9, 255])
PAIRS = SHAPES.flatmap(lambda s: st.tuples(*[arrays(np.uint8, s, elements=CODES, fill=CODES)] * 2))
LAYOUTS = (
    np.ascontiguousarray,
    np.asfortranarray,
    lambda array: np.repeat(array, 2, axis=0)[::2],
    lambda array: np.ascontiguousarray(array[::-1])[::-1],
    lambda array: np.ascontiguousarray(array.swapaxes(0, -1)).swapaxes(0, -1),
)


@settings(deadline=None, max_examples=80)
@given(pair=PAIRS, layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 2))
def test_counts_boxes_and_masks_are_numpys(pair: tuple, layouts: tuple) -> None:
    truth, guess = (layout(volume) for layout, volume in zip(layouts, pair, strict=True))
    maps = CodeMaps(truth, guess)
    expected = np.zeros((256, 256), np.int64)
    np.add.at(expected, (truth, guess), 1)
    assert (maps.table == expected).all()
    for codes in ([1], [2, 9]):
        inside = np.isin(truth, codes), np.isin(guess, codes)
        region = maps.region(codes)
        here = inside[0] | inside[1]
        assert here[region].sum() == here.sum()
        if not here.any():
            assert maps.box(codes) is None
            continue
        assert all(here[region].any(axis=tuple(a for a in range(here.ndim) if a != axis))[[0, -1]].all()
                   for axis in range(here.ndim))  # fmt: skip
        found = maps.masks(codes, maps.box(codes))  # type: ignore[arg-type]
        assert [int(np.bitwise_count(mask).sum()) for mask in found] == [
            int(inside[0].sum()),
            int((inside[1] & (truth != 255)).sum()),
        ]


def test_a_mask_holds_every_voxel_at_its_place() -> None:
    rng = np.random.Generator(np.random.Philox(3))
    truth = (rng.random((5, 4, 150)) < 0.3).astype(np.uint8) * rng.integers(1, 4, (5, 4, 150), dtype=np.uint8)
    maps = CodeMaps(truth, np.zeros_like(truth))
    box = maps.box([2, 3])
    assert box is not None
    low, high = box
    mask = maps.masks([2, 3], box)[0]
    bits = np.unpackbits(mask.view(np.uint8), axis=-1, bitorder="little")
    size = [b - a for a, b in zip(low, high, strict=True)]
    inner = bits[1 : size[0] + 1, 1 : size[1] + 1, 1 : size[2] + 1].astype(bool)
    assert (inner == (truth > 1)[maps.region([2, 3])]).all()
    assert bits.sum() == inner.sum()


def test_arrays_that_cannot_be_written_are_read() -> None:
    truth = np.frombuffer(bytes([0, 1, 1, 2] * 6), np.uint8).reshape(2, 3, 4)
    assert CodeMaps(truth, truth).table[1, 1] == 12


def test_four_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="4 dimensions"):
        CodeMaps(np.zeros((2, 2, 2, 2), np.uint8), np.zeros((2, 2, 2, 2), np.uint8))
