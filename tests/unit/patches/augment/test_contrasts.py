"""New contrasts: what is drawn, what becomes of labels and clusters, and what stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.patches.augment import intensity, remap, synthesis
from medseg.patches.settings import MOST_CLUSTERS, AugmentationSettings

OFF = AugmentationSettings.off()
ALWAYS = replace(OFF, synthesis_probability=1.0, remap_probability=1.0)
SPACES = {"3D": (22, 18, 16), "2D": (40, 36), "2.5D": (32, 30, 3)}


def synthetic(seed: int = 0, channels: tuple[int, ...] = (0,), **options: Any) -> synthesis.Synthesis:
    drawn = synthesis.draw(np.random.default_rng(seed), replace(ALWAYS, **options), channels, (0, 1))
    assert drawn is not None
    return drawn


def curve(seed: int = 0, **options: Any) -> remap.Remap:
    drawn = remap.draw(np.random.default_rng(seed), replace(ALWAYS, **options), (0,))
    assert drawn is not None
    return drawn


def test_gaussians_are_drawn_evenly_from_their_ranges() -> None:
    ranges = {"synthesis_mean": (2.0, 4.0), "synthesis_std": (0.5, 1.0), "synthesis_blur": (0.4, 0.9)}
    drawn = [synthetic(seed, (0, 1), **ranges) for seed in range(60)]
    for name, (low, high) in zip(("mean", "std", "sigma"), ranges.values(), strict=True):
        values = np.array([getattr(one, name) for one in drawn])
        assert low <= values.min()
        assert values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, rel=0.05)
        assert values.std() == pytest.approx((high - low) / 12**0.5, rel=0.15)
    assert len({one.seed for one in drawn}) == 60


def test_every_number_of_clusters_occurs_and_no_other() -> None:
    levels = np.concatenate([synthetic(s, synthesis_clusters=(2, 5)).levels for s in range(200)])
    there = levels <= 1
    assert set(np.unique(there.sum(1) + 1)) == {2, 3, 4, 5}
    assert (np.diff(np.where(there, levels, 3), axis=1) >= 0).all()
    assert synthetic(synthesis_clusters=(MOST_CLUSTERS, MOST_CLUSTERS)).levels.max() < 1


def test_probabilities_are_those_asked_for() -> None:
    some = replace(OFF, synthesis_probability=0.3, remap_probability=0.6)
    channels = intensity.Channels((0,), 3, False)
    drawn = [[type(c) for c in intensity.draw(np.random.default_rng(s), some, channels)] for s in range(600)]
    assert np.mean([synthesis.Synthesis in d for d in drawn]) == pytest.approx(0.3, abs=0.06)
    assert np.mean([remap.Remap in d for d in drawn]) == pytest.approx(0.6, abs=0.06)
    assert intensity.draw(np.random.default_rng(0), ALWAYS, intensity.Channels((), 3, False)) == []


def test_other_draws_do_not_depend_on_new_contrasts() -> None:
    channels, often = intensity.Channels((0, 1), 2, False), replace(OFF, gamma_probability=1.0)
    (alone,) = intensity.draw(np.random.default_rng(3), often, channels)
    more = replace(often, synthesis_probability=1.0, remap_probability=1.0)
    first, second, last = intensity.draw(np.random.default_rng(3), more, channels)
    assert (type(first), type(second)) == (synthesis.Synthesis, remap.Remap)
    assert last == alone


def test_each_label_and_cluster_gets_the_gaussian_that_was_drawn() -> None:
    image = np.random.default_rng(0).standard_normal((1, 60, 50, 20)).astype(np.float32)
    label = np.zeros(image.shape[1:], np.uint8)
    label[:20], label[20:30], label[30:35] = 1, 254, 255
    drawn = synthetic(5, synthesis_clusters=(3, 3), synthesis_blur=(0.01, 0.01), synthesis_std=(0.01, 0.05))
    low, high = np.quantile(image[0], drawn.levels[0, :2])
    made = image.copy()
    synthesis.apply(made, drawn, label)
    cluster = (image[0] > low).astype(int) + (image[0] > high)
    group = np.where((label == 0) | (label == 255), cluster, label.astype(int) + MOST_CLUSTERS)
    found = sorted(set(group.ravel().tolist()))
    assert found == [0, 1, 2, MOST_CLUSTERS + 1, MOST_CLUSTERS + 254]
    # The old mean and standard deviation came back, so the Gaussians are known but for a line.
    means = np.array([np.median(made[0][group == g]) for g in found])
    wanted = drawn.mean[0, found]
    slope, offset = np.polyfit(wanted, means, 1)
    assert slope > 0
    np.testing.assert_allclose(means, slope * wanted + offset, atol=0.03)
    core = [made[0][(label == code)].std() for code in (1, 254)]
    np.testing.assert_allclose(core, slope * drawn.std[0, MOST_CLUSTERS + np.array([1, 254])], rtol=0.05)
    assert made.mean() == pytest.approx(image.mean(), abs=1e-4)
    assert made.std() == pytest.approx(image.std(), rel=1e-3)


def test_without_labels_there_are_clusters_alone() -> None:
    image = np.random.default_rng(0).standard_normal((1, 40, 40)).astype(np.float32)
    nothing = np.zeros(image.shape[1:], np.uint8)
    unlabelled, labelled = image.copy(), image.copy()
    synthesis.apply(unlabelled, synthetic(1), None)
    synthesis.apply(labelled, synthetic(1), nothing)
    np.testing.assert_array_equal(unlabelled, labelled)


def test_what_most_voxels_share_is_one_cluster() -> None:
    image = np.full((1, 40, 40), -1.0, np.float32)  # the air around a head
    image[0, 10:14] = np.random.default_rng(0).standard_normal((4, 40))
    made = image.copy()
    synthesis.apply(made, synthetic(2, synthesis_clusters=(8, 8), synthesis_std=(0.0, 0.0)), None)
    outside = made[0, 30:]
    assert np.ptp(outside) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("monotone", [0.0, 1.0])
def test_curves_are_as_smooth_and_as_monotone_as_asked(monotone: float) -> None:
    image = np.linspace(-3, 5, 4000, dtype=np.float32).reshape(1, 80, 50)
    kinds = set()
    for seed in range(40):
        made = image.copy()
        remap.apply(made, curve(seed, remap_monotone_probability=monotone))
        steps = np.diff(made.ravel())[25:-25]  # the ends are clipped
        rising, falling = bool((steps >= -1e-4).all()), bool((steps <= 1e-4).all())
        kinds.add("up" if rising else "down" if falling else "neither")
        assert np.abs(np.diff(steps)).max() < 0.02
        assert made.mean() == pytest.approx(image.mean(), abs=1e-3)
        assert made.std() == pytest.approx(image.std(), rel=1e-3)
    assert kinds == ({"up", "down"} if monotone else kinds | {"neither"})


def test_a_curve_is_its_bezier_polynomial() -> None:
    heights = np.array([0.2, 1.0, 0.0, 0.7])
    t = np.linspace(0, 1, 50)
    one, two = 1 - t, 3
    by_hand = heights[0] * one**3 + two * heights[1] * t * one**2 + two * heights[2] * t**2 * one
    by_hand += heights[3] * t**3
    np.testing.assert_allclose(np.polyval(remap._powers(heights)[::-1], t), by_hand, atol=1e-12)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_labels_and_absent_images_stay_and_the_same_draw_gives_the_same(space: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    image = rng.standard_normal((3, *space)).astype(np.float32)
    label = rng.integers(0, 4, space).astype(np.uint8)
    label[0] = 255
    kept = label.copy()
    channels = intensity.Channels((0, 2), len(space), in_plane=len(space) == 2)
    made = []
    for _ in range(2):
        changes = intensity.draw(np.random.default_rng(9), ALWAYS, channels)
        made.append(image.copy())
        intensity.apply(made[-1], changes, label)
        label = kept.copy()
    np.testing.assert_array_equal(label, kept)
    np.testing.assert_array_equal(*made)
    np.testing.assert_array_equal(made[0][1], image[1])
    assert not np.array_equal(made[0][0], image[0])
    assert not np.array_equal(made[0][0], made[0][2])


@settings(max_examples=80, deadline=None)
@given(
    space=st.lists(st.integers(1, 20), min_size=2, max_size=3),
    kind=st.sampled_from(["normal", "flat", "one voxel", "huge", "few values"]),
    labelled=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_never_a_nan(space: list[int], kind: str, labelled: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((1, *space)).astype(np.float32)
    image[...] = {
        "normal": image,
        "flat": 2.5,
        "one voxel": np.arange(image.size).reshape(image.shape) == 0,
        "huge": image * 1e6 + 1e7,
        "few values": np.round(image),
    }[kind]
    label = rng.integers(0, 256, space).astype(np.uint8) if labelled else None
    before = image.copy()
    channels = intensity.Channels((0,), len(space), in_plane=False)
    wild = replace(ALWAYS, synthesis_std=(0.0, 0.0), synthesis_mean=(0.5, 0.5), synthesis_clusters=(1, 16))
    for one in (ALWAYS, wild):
        intensity.apply(image, intensity.draw(rng, one, channels), label)
        assert np.isfinite(image).all()
    if kind == "flat":
        np.testing.assert_array_equal(image, before)
