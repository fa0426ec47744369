"""What benchmarks/metrics.py measures on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.data.formats import read_volume
from medseg.evaluation.folder import spacing_of

SHAPE, CLASSES = (240, 240, 155), (1, 2, 3)

Codes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Case:
    """Two label maps on one grid, and a line that says what they are."""

    name: str
    told: str
    reference: Codes
    prediction: Codes
    spacing: Spacing


def synthetic() -> tuple[Codes, Codes]:
    """Three nested ellipsoids with rough surfaces, twice: Dice 0.7 to 0.8."""
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in SHAPE], indexing="ij", sparse=True)
    shapes = (((110, 120, 75), (55, 45, 35)), ((115, 125, 80), (30, 28, 22)), ((120, 125, 80), (14, 14, 10)))
    found = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        label = np.zeros(SHAPE, np.uint8)
        for code, (centre, radii) in enumerate(shapes, start=1):
            rough = smooth_noise(rng, 6)
            parts = [
                ((a - c - rng.normal() * 1.5) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True)
            ]
            label[parts[0] + parts[1] + parts[2] + 0.15 * rough < 1] = code
        found.append(label)
    return found[0], found[1]


def smooth_noise(rng: np.random.Generator, sigma: float) -> NDArray[np.float32]:
    """Of standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), sigma)
    return noise / noise.std()


def with_islands(label: Codes) -> Codes:
    """A false island of each class, far from everything."""
    label = label.copy()
    label[5:9, 5:9, 5:9], label[230:235, 20:25, 140:145], label[10:14, 220:224, 100:104] = CLASSES
    return label


def heart(folder: Path) -> Case | None:
    """A real reference, and as its prediction the same with voxels displaced smoothly by 2 voxels (SD)."""
    files = sorted((folder / "acdc" / "labelsTr").glob("*.nii.gz"))
    if not files:
        return None
    volume = read_volume(files[0])
    spacing = [
        s * n / m for s, n, m in zip(spacing_of(volume.affine), volume.array.shape, SHAPE, strict=True)
    ]
    grid = np.stack(
        np.meshgrid(
            *[np.linspace(0, n - 1, m) for n, m in zip(volume.array.shape, SHAPE, strict=True)], indexing="ij"
        )
    )
    step = np.array([(n - 1) / (m - 1) for n, m in zip(volume.array.shape, SHAPE, strict=True)])
    rng = np.random.default_rng(0)
    moved = grid + np.stack([2 * smooth_noise(rng, 12) * one for one in step])
    size, steps = ("x".join(map(str, volume.array.shape)), " x ".join(f"{s:.2f}" for s in spacing))
    told = f"The first label of ACDC (RV, MYO, LV), {size} voxels, enlarged to {steps} mm; "
    told += "its prediction is the same, displaced smoothly by 2 voxels (SD)"
    maps = [enlarged(volume.array, places) for places in (grid, moved)]
    return Case("real", told, *maps, (spacing[0], spacing[1], spacing[2]))


def enlarged(label: NDArray[np.generic], places: NDArray[np.float64]) -> Codes:
    """The class with the largest linear interpolation, where it is above a half."""
    found, best = np.zeros(places.shape[1:], np.uint8), np.full(places.shape[1:], 0.5)
    for code in CLASSES:
        share = ndimage.map_coordinates((label == code).astype(np.float32), places, order=1, mode="nearest")
        found[share > best] = code
        best = np.maximum(best, share)
    return found


def cases(data: Path) -> Iterator[Case]:
    """Those that can be made here."""
    one, other = synthetic()
    unit = (1.0, 1.0, 1.0)
    yield Case("synthetic", "Three nested rough ellipsoids of two seeds, 1 mm", one, other, unit)
    yield Case(
        "islands", "The same with a false island of each class far off", one, with_islands(other), unit
    )
    if real := heart(data):
        yield real
    else:
        print(f"no real case: {data}/acdc is not there", file=sys.stderr)


def hard(reference: Codes) -> Iterator[tuple[str, Mask, Mask]]:
    """Pairs of masks that are hard on one way of looking for the nearest or another."""
    organ, rng = reference > 0, np.random.default_rng(5)
    voxel, whole, core = np.zeros(SHAPE, bool), np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    voxel[120, 120, 70], core[106:115, 116:125, 71:80] = True, True
    aside = np.zeros((2, *SHAPE), bool)
    aside[0, 5:75], aside[1, 165:235] = organ[75:145], organ[75:145]
    yield "a voxel against an organ", voxel, organ
    yield "a core against the shell around it", core, organ & ~ndimage.binary_erosion(organ, iterations=2)
    yield "an organ against one 160 voxels beside it", aside[0], aside[1]
    yield "a voxel against the whole grid", voxel, whole
    yield "an organ against the whole grid", organ, whole
    for share in (0.001, 0.02, 0.5):
        noise = rng.random((2, *SHAPE)) < share
        yield f"noise, {100 * share:g} % of all voxels", noise[0], noise[1]
