"""Which case, and where."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from medseg.data.store import Store
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


DRAWS = 10_000
"""Enough for shares to be right within a percent. The seeds are fixed: a test passes always or never."""


@pytest.mark.parametrize("share", [0.1, 0.34, 0.5])
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 2), (1, 2), (5, 8)])
def test_foreground_share_of_ten_thousand_draws(share: float, rank: int, world: int) -> None:
    """Far closer than coins, which would be wrong by up to 140 draws (three standard deviations)."""
    sampler = replace(SAMPLER, foreground_share=share)
    for epoch in range(3):
        numbers = range(rank, DRAWS * world, world)
        wanted = np.array([sampler.wants_foreground(epoch, i) for i in numbers])
        assert abs(wanted.sum() - share * DRAWS) <= 8
        batches = wanted[: DRAWS // 20 * 20].reshape(-1, 20).mean(1)
        assert np.abs(batches - share).max() <= 0.2


def test_every_class_of_every_case_is_drawn_equally_often(store: Store) -> None:
    """From the stored positions of real cases: a small class as often as a large one."""
    ids = store.ids
    sampler = replace(SAMPLER, cases=len(ids), patch=(7, 7, 7), foreground_share=0.4)
    cases = [(store.case(i), np.asarray(store.case(i).label), store.case(i).foreground) for i in ids]
    drawn: Counter[tuple[int, int]] = Counter()
    visited: Counter[int] = Counter()
    for number in range(DRAWS):
        which = sampler.case(0, number)
        visited[which] += 1
        case, label, foreground = cases[which]
        start = sampler.start(0, number, case.shape, foreground)
        if sampler.wants_foreground(0, number):
            x, y, z = (s + 3 for s in start)
            drawn[which, int(label[x, y, z])] += 1
    assert max(visited.values()) - min(visited.values()) <= 1
    assert set(drawn) == {(case, code) for case in range(len(ids)) for code in (1, 2)}
    sizes = [len(foreground[1]) / len(foreground[2]) for *_, foreground in cases]
    assert min(sizes) > 10, "the classes' sizes differ"
    assert chisquare(list(drawn.values())).pvalue > 0.01
    assert sum(drawn.values()) == pytest.approx(0.4 * DRAWS, abs=8)


def test_every_voxel_of_a_class_is_drawn_equally_often() -> None:
    shape, sampler = (60, 60, 30), replace(SAMPLER, foreground_share=1.0)
    grid = np.stack(np.meshgrid(range(10, 50, 8), range(10, 50, 8), range(6, 24, 6), indexing="ij"), -1)
    positions = grid.reshape(-1, 3).astype(np.int32)
    starts = np.array([sampler.start(0, i, shape, {1: positions}) for i in range(DRAWS)])
    centres = starts + np.array(sampler.patch) // 2
    found, counts = np.unique(centres, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, positions)
    assert chisquare(counts).pvalue > 0.01


@settings(max_examples=100, deadline=None)
@given(data=st.data(), patch=st.tuples(*[st.integers(1, 12)] * 3), shape=st.tuples(*[st.integers(1, 30)] * 3))
def test_a_patch_contains_the_voxel_that_it_was_drawn_for(data: Any, patch: Any, shape: Any) -> None:
    """At the border of the case and in cases smaller than the patch too."""
    voxel = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    sampler = PatchSampler(data.draw(st.integers(0, 99)), 5, patch, 1.0)
    start = sampler.start(0, data.draw(st.integers(0, 10**6)), shape, {3: np.array([voxel], np.int32)})
    assert all(s <= v < s + p for v, s, p in zip(voxel, start, patch, strict=True))


def test_background_positions_are_uniform_and_independent() -> None:
    sampler, shape = replace(SAMPLER, foreground_share=0.0), (40, 28, 12)
    starts = np.array([sampler.start(1, i, shape, {}) for i in range(DRAWS)])
    sizes = [s - p + 1 for s, p in zip(shape, sampler.patch, strict=True)]
    for axis, size in enumerate(sizes):
        counts = np.bincount(starts[:, axis], minlength=size)
        assert len(counts) == size
        assert chisquare(counts).pvalue > 0.01
        # Spread over their bins, whole numbers are as good as continuous ones.
        spread = (starts[:, axis] + generator(9, 0, axis, Purpose.PLACE).random(DRAWS)) / size
        assert kstest(spread, "uniform").pvalue > 0.01
    thirds = (starts * 3 // np.array(sizes)) @ (9, 3, 1)
    shares = [np.bincount(np.arange(size) * 3 // size) / size for size in sizes]
    joint = np.einsum("i,j,k->ijk", *shares).ravel() * DRAWS
    assert chisquare(np.bincount(thirds, minlength=27), joint).pvalue > 0.01
    # Nor do they depend on the sample before.
    assert np.abs(np.corrcoef(starts[1:, 0], starts[:-1, 0])[0, 1]) < 0.04


def test_the_foreground_index_is_read_not_searched(store: Store) -> None:
    """A position comes from the stored index alone: neither the label nor the image is opened."""
    case = store.case(store.ids[0])
    bare = replace(case, meta=case.meta | {"arrays": {"foreground": case.meta["arrays"]["foreground"]}})
    sampler = replace(SAMPLER, foreground_share=1.0)
    for number in range(20):
        start = sampler.start(0, number, case.shape, bare.foreground)
        assert start == sampler.start(0, number, case.shape, case.foreground)
    assert not bare.labelled
