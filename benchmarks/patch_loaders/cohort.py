"""The cohort that all loaders read: blobs of three classes on a smooth background with noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patch_loaders.cases import CLASSES, Volume

FORMAT = 1
_RADII = (5.0, 14.0)
_COVERED = 0.06
_FIELD = 16  # voxels between the points of the smooth background


def image_path(folder: Path, case: int) -> Path:
    """NIfTI, uncompressed: ``(W, H, D)`` or ``(W, H, D, M)`` float32, spacing 1 mm."""
    return folder / f"case{case}_image.nii"


def label_path(folder: Path, case: int) -> Path:
    """NIfTI, uncompressed: ``(W, H, D)`` uint8."""
    return folder / f"case{case}_label.nii"


def make(volume: Volume, root: Path) -> Path:
    """Writes the cohort unless it is there; its folder."""
    import nibabel as nib

    folder = root / f"{volume.name}-{volume.cases}cases-v{FORMAT}"
    done = folder / "cohort.json"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for case in range(volume.cases):
        image, label = arrays(volume, case)
        stored = image[0] if volume.channels == 1 else np.moveaxis(image, 0, -1)
        nib.save(nib.Nifti1Image(stored, np.eye(4)), image_path(folder, case))
        nib.save(nib.Nifti1Image(label, np.eye(4)), label_path(folder, case))
    done.write_text(json.dumps({"shape": volume.shape, "channels": volume.channels}), encoding="utf-8")
    return folder


def arrays(volume: Volume, case: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image ``(M, W, H, D)``, about zero mean and unit variance, and label ``(W, H, D)``."""
    rng = np.random.Generator(np.random.Philox(key=[case, volume.channels]))
    label = _blobs(rng, volume.shape)
    image = np.empty((volume.channels, *volume.shape), np.float32)
    for channel in range(volume.channels):
        offset = np.array([0.0, 2.0, 2.5, 3.0], np.float32) - np.float32(0.3 * channel)
        offset[0] = 0
        image[channel] = rng.standard_normal(volume.shape, dtype=np.float32)
        image[channel] *= np.float32(0.3)
        image[channel] += _smooth(rng, volume.shape)
        image[channel] += offset[label]
    return image, label


def _blobs(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Ellipsoids, as many per voxel whatever the size, so that patches look alike in all cohorts."""
    label = np.zeros(shape, np.uint8)
    mean = 4 / 3 * np.pi * np.mean(_RADII) ** 3
    for number in range(max(CLASSES, round(_COVERED * np.prod(shape) / mean))):
        centre, radius = rng.uniform(0, shape), rng.uniform(*_RADII, 3)
        low = np.maximum(np.floor(centre - radius), 0).astype(int)
        high = np.minimum(np.ceil(centre + radius) + 1, shape).astype(int)
        axes: list[Any] = [
            ((np.arange(a, b) - c) / r) ** 2 for a, b, c, r in zip(low, high, centre, radius, strict=True)
        ]
        inside = axes[0][:, None, None] + axes[1][:, None] + axes[2] <= 1
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        label[box][inside] = number % CLASSES + 1
    return label


def _smooth(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Noise at few points, interpolated linearly along each axis."""
    points = [n // _FIELD + 2 for n in shape]
    field: NDArray[np.float32] = rng.normal(0, 0.5, points).astype(np.float32)
    for n in shape:
        position = np.arange(n, dtype=np.float32) / _FIELD
        first = position.astype(int)
        weight = position - first
        matrix = np.zeros((len(field), n), np.float32)
        matrix[first, np.arange(n)] = 1 - weight
        matrix[first + 1, np.arange(n)] += weight
        field = np.tensordot(field, matrix, axes=(0, 0))
    return field
