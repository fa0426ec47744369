"""Nearest distances of near and far voxels against a k-d tree."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from medseg.evaluation import surfaces
from medseg.evaluation.nearest import all_places, nearest_distances

SPACINGS = st.tuples(*[st.sampled_from([0.01, 0.3, 0.7, 1.0, 1.0, 3.0, 9.0])] * 3)


def packed(voxels: np.ndarray) -> np.ndarray:
    """As a bit mask with nothing all around."""
    around = np.pad(voxels, 1)
    fill = -around.shape[2] % 64
    bits = np.packbits(np.pad(around, ((0, 0), (0, 0), (0, fill))), axis=-1, bitorder="little")
    return bits.view(np.uint64)


def by_tree(seekers: np.ndarray, targets: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    return np.asarray(cKDTree(np.argwhere(targets) * spacing).query(np.argwhere(seekers) * spacing)[0])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from([(20, 30, 40), (1, 25, 140), (6, 5, 200), (1, 1, 300), (50, 1, 9), (1, 90, 70)]),
    spacing=SPACINGS,
    density=st.sampled_from([0.5, 0.03, 0.002]),
)
def test_agrees_with_a_tree(
    seed: int, shape: tuple[int, ...], spacing: tuple[float, float, float], density: float
) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    targets, seekers = (rng.random((2, *shape)) < density) | (rng.random((2, *shape)) < 2e-4)
    seekers &= ~targets
    if not targets.any():
        return
    places, found = nearest_distances(packed(seekers), packed(targets), spacing)
    assert sorted(map(tuple, places - 1)) == sorted(map(tuple, np.argwhere(seekers)))
    order = np.lexsort(places.T[::-1])
    np.testing.assert_allclose(found[order], by_tree(seekers, targets, spacing), rtol=1e-12)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 6.0), (4.0, 0.9, 0.4)])
def test_far_surfaces_of_every_kind_agree_with_a_tree(spacing: tuple[float, float, float]) -> None:
    """A speck against a ball, islands far off, one inside the other, everything against one voxel."""
    shape = (70, 60, 80)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)

    def ball(centre: tuple[float, ...], radius: float) -> np.ndarray:
        return ((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0) < radius**2

    speck, whole = np.zeros(shape, bool), np.ones(shape, bool)
    speck[3, 4, 5] = True
    organ, core = ball((35, 30, 40), 25), ball((35, 30, 40), 4)
    islands = ball((32, 30, 40), 24) | speck | ball((60, 5, 70), 3)
    for reference, prediction in (
        (organ, speck),
        (organ, islands),
        (organ, core),
        (whole, speck),
        (whole, core),
    ):
        found = surfaces.surface_distances(reference, prediction, spacing)
        here, there = surfaces.boundary(reference), surfaces.boundary(prediction)
        np.testing.assert_allclose(
            np.sort(found.reference_to_prediction), np.sort(by_tree(here, there, spacing))
        )
        np.testing.assert_allclose(
            np.sort(found.prediction_to_reference), np.sort(by_tree(there, here, spacing))
        )


def test_all_places_are_found() -> None:
    rng = np.random.Generator(np.random.Philox(1))
    voxels = rng.random((4, 5, 130)) < 0.2
    assert sorted(map(tuple, all_places(packed(voxels)) - 1)) == sorted(map(tuple, np.argwhere(voxels)))


def test_threads_give_what_one_gives() -> None:
    rng = np.random.Generator(np.random.Philox(2))
    pairs = [rng.random((2, 30, 30, 70)) < 0.01 for _ in range(6)]
    alone = [surfaces.surface_distances(a, b, (1.0, 2.0, 0.5)).pooled for a, b in pairs]
    together: list[np.ndarray | None] = [None] * len(pairs)

    def one(k: int) -> None:
        together[k] = surfaces.surface_distances(*pairs[k], (1.0, 2.0, 0.5)).pooled

    threads = [threading.Thread(target=one, args=(k,)) for k in range(len(pairs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(found, expected)
