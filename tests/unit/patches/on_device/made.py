"""Scans and draws for the tests of this folder, both ways to make a patch of them, and where labels tie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from medseg.contracts import Batch
from medseg.patches.augment import intensity, spatial
from medseg.patches.on_device.augmenting import augment, collated
from medseg.patches.on_device.region import read, turning
from medseg.patches.sample import Drawn, empty_batch, views
from medseg.patches.settings import AugmentationSettings

MOVED = AugmentationSettings(
    rotation_probability=0.7,
    scaling_probability=0.7,
    elastic_probability=0.7,
    rotation_degrees=(180.0, 180.0, 180.0),
    elastic_displacement=(0.1, 0.4),
)


def scan(rng: np.random.Generator, shape: Sequence[int], modalities: int = 2) -> spatial.Source:
    image = rng.standard_normal((modalities, *shape)).astype(np.float32)
    code = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    label = np.digitize(code, np.quantile(code, [0.5, 0.7, 0.9])).astype(np.uint8)
    return spatial.Source(image, label, np.ones(modalities, bool))


def on_device(
    sources: Sequence[spatial.Source], drawn: Sequence[Drawn], patch: Sequence[int], rules: spatial.Rules
) -> Batch:
    """A batch, one sample of each source."""
    deep = (*patch, 1) if len(patch) == 2 else patch
    pairs = enumerate(zip(sources, drawn, strict=True))
    regions = [read(source, deep, one, f"case{k}", (0, k)) for k, (source, one) in pairs]
    return augment(collated(regions, patch, rules))


def on_cpu(
    sources: Sequence[spatial.Source], drawn: Sequence[Drawn], patch: Sequence[int], rules: spatial.Rules
) -> Batch:
    """The same batch as the workers make it."""
    batch = empty_batch(len(sources), len(sources[0].image), patch, True)
    for source, one, sample in zip(sources, drawn, views(batch), strict=True):
        image = sample.image.reshape(*sample.image.shape[:3], -1)
        assert sample.label is not None
        label = sample.label[0].reshape(image.shape[1:])
        shown = spatial.Source(source.image, source.label, one.present)
        spatial.apply(shown, spatial.Target(image, label), one.start, one.spatial, rules)
        intensity.apply(sample.image, list(one.changes), sample.label[0])
    return batch


def sure(
    source: spatial.Source, drawn: Drawn, patch: Sequence[int], rules: spatial.Rules
) -> NDArray[np.bool_]:
    """Where no two labels share the lead; scipy interpolates every class by itself."""
    deep = (*patch, 1) if len(patch) == 2 else tuple(patch)
    where = source_positions(drawn, deep)
    if rules.in_plane:
        where[2] = np.round(where[2])
    assert source.label is not None
    if rules.nearest:
        return np.asarray(np.abs(where - np.floor(where) - 0.5).min(0) > 1e-4).reshape(patch)
    padded = np.pad(source.label, 2, constant_values=rules.outside)
    shares = [
        ndimage.map_coordinates((padded == code).astype(float), where + 2, order=1, mode="nearest")
        for code in np.unique(padded)
    ]
    best = np.sort(np.stack([*shares, np.zeros(deep)]), axis=0)
    return np.asarray(best[-1] - best[-2] > 1e-4).reshape(patch)


def source_positions(drawn: Drawn, patch: tuple[int, ...]) -> NDArray[np.float64]:
    """``(3, P0, P1, P2)``: the position in the scan of every voxel of the patch, by the formula."""
    voxel = np.indices(patch).astype(float)
    centre = (np.array(patch) - 1).reshape(3, 1, 1, 1) / 2
    where = np.array(drawn.start).reshape(3, 1, 1, 1) + centre
    where = where + np.einsum("ij,jxyz->ixyz", turning(drawn.spatial), voxel - centre)
    elastic = drawn.spatial.elastic
    if elastic is None:
        return where
    bases = []
    for n, interval, count in zip(patch, elastic.interval, elastic.control.shape[1:], strict=True):
        distance = np.abs(np.arange(n)[:, None] / interval - np.arange(-1, count - 1))
        inner, outer = 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6
        bases.append(np.ones((n, 1)) if count == 1 else np.where(distance < 1, inner, outer))
    return np.asarray(where + np.einsum("cijk,xi,yj,zk->cxyz", elastic.control, *bases))


@st.composite
def batches(
    draw: st.DrawFn, settings: AugmentationSettings
) -> tuple[list[spatial.Source], list[Drawn], tuple[int, ...], spatial.Rules]:
    """Some scans of different sizes, a draw for each, patches that may leave them on any side."""
    kind = draw(st.sampled_from(["3D", "in-plane", "2D"]))
    patch: Any = draw(st.tuples(*[st.integers(1, 12)] * (2 if kind == "2D" else 3)))
    spacing = draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))
    rules = spatial.Rules(kind != "3D", draw(st.booleans()), draw(st.sampled_from([0, 255])))
    grid = spatial.Grid((*patch, 1) if kind == "2D" else patch, spacing, rules.in_plane, (0, 1, 2))
    rng, modalities = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 3))
    sources, drawn = [], []
    for _ in range(draw(st.integers(1, 3))):
        sources.append(scan(rng, draw(st.tuples(*[st.integers(1, 14)] * 3)), modalities))
        present = rng.random(modalities) < 0.7
        channels = intensity.Channels(tuple(np.flatnonzero(present).tolist()), len(patch), rules.in_plane)
        x, y, z = draw(st.tuples(*[st.integers(-8, 12)] * 3))
        moved, changes = spatial.draw(rng, settings, grid), intensity.draw(rng, settings, channels)
        drawn.append(Drawn((x, y, z), moved, changes, present))
    return sources, drawn, patch, rules
