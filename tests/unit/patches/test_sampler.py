"""Which case, and where."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.patches.keys import Purpose, generator
from medseg.patches.sampler import PatchSampler

SAMPLER = PatchSampler(seed=3, cases=7, patch=(8, 8, 4), foreground_share=0.34)


def test_cases_are_visited_evenly() -> None:
    for epoch in range(3):
        seen = Counter(SAMPLER.case(epoch, i) for i in range(7 * 11 + 3))
        assert set(seen) == set(range(7))
        assert max(seen.values()) - min(seen.values()) <= 1


def test_epochs_and_seeds_differ() -> None:
    order = [SAMPLER.case(0, i) for i in range(70)]
    assert order != [SAMPLER.case(1, i) for i in range(70)]
    assert order != [replace(SAMPLER, seed=4).case(0, i) for i in range(70)]
    assert order != [replace(SAMPLER, stream=1).case(0, i) for i in range(70)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.34, 0.5, 1.0])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_every_rank_gets_its_share_of_foreground(share: float, world: int) -> None:
    sampler = replace(SAMPLER, foreground_share=share)
    for rank in range(world):
        wanted = [sampler.wants_foreground(2, i) for i in range(rank, 400 * world, world)]
        assert np.mean(wanted) == pytest.approx(share, abs=0.02)


def test_every_class_is_drawn_equally_often_and_shown() -> None:
    shape = (40, 40, 20)
    rng = np.random.default_rng(0)
    foreground = {
        code: rng.integers(0, shape, (n, 3), dtype=np.int32)
        for code, n in ((1, 500), (2, 3), (9, 1), (255, 40))
    }
    sampler = replace(SAMPLER, foreground_share=1.0)
    seen: Counter[int] = Counter()
    for i in range(900):
        start = np.array(sampler.start(0, i, shape, foreground))
        assert (start >= 0).all()
        assert (start + sampler.patch <= shape).all()
        centre = start + np.array(sampler.patch) // 2
        for code, positions in foreground.items():
            inside = ((positions >= start) & (positions < start + sampler.patch)).all(1).any()
            seen[code] += bool(inside and code != 1 and np.abs(positions - centre).max(1).min() <= 8)
    assert seen[2] >= 250
    assert seen[9] >= 250


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 30)] * 3),
    patch=st.tuples(*[st.integers(1, 30)] * 3),
    number=st.integers(0, 10**6),
    share=st.floats(0, 1),
)
def test_patches_lie_inside_or_centred(shape: Any, patch: Any, number: int, share: float) -> None:
    sampler = PatchSampler(1, 5, patch, share)
    voxel = np.array([[n - 1 for n in shape]], np.int32)
    for s, p, n in zip(sampler.start(0, number, shape, {1: voxel}), patch, shape, strict=True):
        if n >= p:
            assert 0 <= s <= n - p
        else:
            assert abs((s + p - n) - -s) <= 1


def test_uniform_positions_reach_every_start() -> None:
    sampler = replace(SAMPLER, foreground_share=0.0)
    starts = np.array([sampler.start(0, i, (11, 12, 9), {}) for i in range(2000)])
    for axis, last in enumerate((3, 4, 5)):
        counts = np.bincount(starts[:, axis], minlength=last + 1)
        assert len(counts) == last + 1
        assert counts.min() / counts.max() > 0.7


def test_generators_with_different_names_are_independent() -> None:
    names = [(s, e, i, p, q) for s in (0, 1) for e in (0, 1) for i in (0, 1) for p in Purpose for q in (0, 1)]
    values = {generator(s, e, i, p, q).random() for s, e, i, p, q in names}
    assert len(values) == len(names)
    assert generator(5, 4, 3, Purpose.PLACE).random() == generator(5, 4, 3, Purpose.PLACE).random()
