"""What the device makes is what the workers make, from the same draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from medseg.patches.augment import intensity, spatial
from medseg.patches.on_device import chain, warp
from medseg.patches.on_device.augmenting import augment, collated, finished
from medseg.patches.on_device.region import read
from medseg.patches.on_device.region_batch import RegionBatch
from medseg.patches.sample import Drawn
from medseg.patches.settings import AugmentationSettings

from .made import MOVED, batches, on_cpu, on_device, scan, sure

STILL = AugmentationSettings.off()
GEOMETRY = replace(
    STILL,
    **{
        name: value
        for name, value in vars(MOVED).items()
        if name.split("_")[0] in ("rotation", "scaling", "elastic", "flip")
    },
)
# All but noise and what is made of it, which is the device's own.
ALL = AugmentationSettings(
    **{
        **{name: 0.7 for name in vars(MOVED) if name.endswith("_probability")},
        "noise_probability": 0.0,
        "synthesis_probability": 0.0,
        "rotation_degrees": (180.0, 180.0, 180.0),
        "elastic_displacement": (0.1, 0.4),
        "blur_sigma": (0.4, 2.5),
    }
)


@settings(max_examples=120, deadline=None)
@given(batches(GEOMETRY))
def test_geometry_is_the_workers(case: Any) -> None:
    sources, drawn, patch, rules = case
    here, there = on_device(*case), on_cpu(*case)
    np.testing.assert_allclose(here.image, there.image, atol=1e-4)
    assert here.label is not None
    assert there.label is not None
    for k, (source, one) in enumerate(zip(sources, drawn, strict=True)):
        clear = sure(source, one, patch, rules)
        if one.spatial.matrix is None and one.spatial.elastic is None:
            clear[...] = True
            assert torch.equal(here.image[k], there.image[k])
        np.testing.assert_array_equal(here.label[k, 0].numpy()[clear], there.label[k, 0].numpy()[clear])


@settings(max_examples=80, deadline=None)
@given(batches(ALL))
def test_intensities_are_the_workers(case: Any) -> None:
    here, there = on_device(*case), on_cpu(*case)
    np.testing.assert_allclose(here.image, there.image, atol=1e-4)
    assert here.present.tolist() == [one.present.tolist() for one in case[1]]
    assert not here.image[~here.present].any()


def drawn_for(
    changed: AugmentationSettings,
    patch: tuple[int, ...],
    start: tuple[int, int, int],
    seed: int,
    modalities: int,
) -> Drawn:
    in_plane = len(patch) == 2
    grid = spatial.Grid((*patch, 1) if in_plane else patch, (1.0, 1.0, 2.0), in_plane, (0, 1, 2))  # type: ignore[arg-type]
    rng, present = np.random.default_rng(seed), np.ones(modalities, bool)
    channels = intensity.Channels(tuple(range(modalities)), len(patch), in_plane)
    return Drawn(start, spatial.draw(rng, changed, grid), intensity.draw(rng, changed, channels), present)


ALWAYS = AugmentationSettings(
    **{name: 1.0 for name in vars(MOVED) if name.endswith("_probability")}, blur_sigma=(0.4, 1.5)
)


def regions_of(
    changed: AugmentationSettings = ALWAYS, patch: tuple[int, ...] = (12, 10, 8), samples: int = 3
) -> RegionBatch:
    rng, deep = np.random.default_rng(0), (*patch, 1) if len(patch) == 2 else patch
    regions = [
        read(
            scan(rng, (18 + k, 20, 16)), deep, drawn_for(changed, patch, (3, 4, 2), k, 2), f"case{k}", (1, k)
        )
        for k in range(samples)
    ]
    return collated(regions, patch, spatial.Rules(len(patch) == 2))


def test_a_batch_promises_its_shape_and_keeps_it() -> None:
    batch = regions_of()
    done = finished(batch)
    assert type(done).__name__ == "Batch"
    assert batch.label is not None
    assert done.label is not None
    assert (batch.image.shape, batch.label.shape) == (done.image.shape, done.label.shape)
    assert batch.image.is_meta
    assert (done.image.dtype, done.label.dtype) == (torch.float32, torch.uint8)
    assert done.index.tolist() == [[1, 0], [1, 1], [1, 2]]
    assert done.case == ["case0", "case1", "case2"]
    assert finished(done) is done


def test_moving_changes_nothing_and_may_be_repeated() -> None:
    batch = regions_of()
    once = batch.to("cpu")
    assert len(once.voxels) == 1
    for other in (once, once.to("cpu"), batch):
        assert torch.equal(augment(other).image, augment(batch).image)


@pytest.mark.parametrize("patch", [(12, 10, 8), (12, 10)])
def test_memory_bounds_do_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, patch: tuple[int, ...]
) -> None:
    expected = augment(regions_of(patch=patch))
    monkeypatch.setattr(warp, "SLAB", 100)
    monkeypatch.setattr(chain, "ROWS", 100)
    found = augment(regions_of(patch=patch))
    assert torch.equal(expected.image, found.image)
    assert expected.label is not None
    assert found.label is not None
    assert torch.equal(expected.label, found.label)


def test_autocast_and_reduced_precision_do_not_reach_it() -> None:
    expected = augment(regions_of())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(expected.image, augment(regions_of()).image)


def test_deterministic_algorithms_are_enough() -> None:
    expected = augment(regions_of())
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(expected.image, augment(regions_of()).image)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    together = augment(regions_of())
    alone = augment(regions_of(samples=1))
    np.testing.assert_allclose(together.image[0], alone.image[0], atol=1e-5)


@pytest.mark.parametrize("patch", [(12, 10, 8), (12, 10)])
@pytest.mark.parametrize("labelled", [True, False])
def test_on_cuda_nothing_waits_and_nothing_stays_behind(patch: tuple[int, ...], labelled: bool) -> None:
    """Shapes and devices alone are propagated: reading a value, or mixing devices, raises.

    Without noise: its generators need a GPU.
    """
    changed = replace(ALWAYS, noise_probability=0.0, synthesis_probability=0.0)
    mixed = [regions_of(changed, patch), regions_of(replace(STILL, flip_probability=1.0), patch)]
    for made in mixed:
        batch = made if labelled else replace(made, label=None, codes=None)
        with FakeTensorMode(allow_non_fake_inputs=True):
            done = augment(batch.to("cuda", non_blocking=True))
            tensors = [t for t in (done.image, done.label, done.present, done.index) if t is not None]
            assert {t.device.type for t in tensors} == {"cuda"}
            assert done.image.shape == (3, 2, *patch)
            with pytest.raises(RuntimeError, match="_local_scalar_dense"):
                float(done.image.sum())


@settings(max_examples=30, deadline=None)
@example(codes=[3, 1, 3, 1], weights=[1, 2, 3, 2])
@given(
    codes=st.lists(st.integers(0, 255), min_size=8, max_size=8),
    weights=st.lists(st.integers(0, 20), min_size=8, max_size=8),
)
def test_the_heaviest_code_is_elected(codes: list[int], weights: list[int]) -> None:
    total: dict[int, int] = {}
    for code, weight in zip(codes, weights, strict=False):
        total[code] = total.get(code, 0) + weight
    expected = max(total, key=lambda code: total[code])  # of equals the first
    shares = torch.tensor(weights[: len(codes)], dtype=torch.float32)
    assert int(warp.elected(torch.tensor(codes, dtype=torch.uint8), shares)) == expected


def test_more_than_one_kind_of_control_points_is_refused() -> None:
    source, rules = scan(np.random.default_rng(0), (20, 20, 20)), spatial.Rules(False)
    drawn = [
        drawn_for(replace(ALWAYS, elastic_spacing=share), (8, 8, 8), (4, 4, 4), 0, 2) for share in (0.2, 0.5)
    ]
    with pytest.raises(ValueError, match="control points"):
        on_device([source, source], drawn, (8, 8, 8), rules)
