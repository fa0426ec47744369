"""Rotation, scaling, elastic deformation, flips and the crop: drawn together, done in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment import bspline
from medseg.patches.augment.crop import crop
from medseg.patches.augment.draws import log_uniform, uniform
from medseg.patches.settings import AugmentationSettings


@dataclass(frozen=True)
class Grid:
    """The patch as the scan sees it: three store axes, the last one voxel deep in 2D.

    Attributes:
        patch: voxels per store axis.
        spacing: mm per store axis.
        in_plane: whether only the first two axes may be turned, scaled and bent.
        flip_axes: the store axes that may be mirrored.
    """

    patch: tuple[int, int, int]
    spacing: tuple[float, float, float]
    in_plane: bool
    flip_axes: tuple[int, ...]


@dataclass(frozen=True)
class Elastic:
    """A displacement field: ``control`` ``(3, X, Y, Z)`` source voxels, ``interval`` patch voxels apart."""

    control: NDArray[np.float32]
    interval: tuple[float, float, float]


@dataclass(frozen=True)
class Spatial:
    """What was drawn. A patch voxel ``p`` shows the source position
    ``start + c + matrix @ flip(p - c) + displacement(p)``, with ``c`` the patch's centre.

    Attributes:
        flips: per store axis.
        matrix: ``(3, 3)``, from voxels of the patch to voxels of the source; ``None`` leaves it as it is.
        elastic: ``None`` where nothing is bent.
        rotation: degrees about each store axis, for the record.
        scale: how much larger the object appears, for the record.
    """

    flips: tuple[bool, bool, bool] = (False, False, False)
    matrix: NDArray[np.float64] | None = None
    elastic: Elastic | None = None
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


def draw(rng: np.random.Generator, settings: AugmentationSettings, grid: Grid) -> Spatial:
    """Draws the spatial change of one patch."""
    turned, scaled, bent = rng.random(3) < (
        settings.rotation_probability,
        settings.scaling_probability,
        settings.elastic_probability,
    )
    rotation = _angles(rng, settings, grid) if turned else (0.0, 0.0, 0.0)
    scale = log_uniform(rng, settings.scaling_range) if scaled else 1.0
    elastic = _elastic(rng, settings, grid) if bent else None
    coins = rng.random(3) < settings.flip_probability
    x, y, z = (bool(coins[axis]) and axis in grid.flip_axes for axis in range(3))
    matrix = _matrix(rotation, scale, grid) if turned or scaled else None
    return Spatial((x, y, z), matrix, elastic, rotation, scale)


def _angles(
    rng: np.random.Generator, settings: AugmentationSettings, grid: Grid
) -> tuple[float, float, float]:
    limits = np.array(settings.rotation_degrees)
    if grid.in_plane:
        limits = np.array([0.0, 0.0, settings.rotation_in_plane_degrees])
    x, y, z = rng.uniform(-limits, limits)
    return float(x), float(y), float(z)


def _matrix(rotation: Sequence[float], scale: float, grid: Grid) -> NDArray[np.float64]:
    """Source voxels per patch voxel: turned and scaled in millimetres."""
    turn = np.eye(3)
    for axis, degrees in enumerate(rotation):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        single = np.eye(3)
        single[i, i], single[i, j], single[j, i], single[j, j] = c, -s, s, c
        turn = turn @ single
    zoom = np.array([1 / scale, 1 / scale, 1.0 if grid.in_plane else 1 / scale])
    spacing = np.array(grid.spacing)
    return np.asarray(turn * zoom * spacing / spacing[:, None], dtype=np.float64)


def _elastic(rng: np.random.Generator, settings: AugmentationSettings, grid: Grid) -> Elastic:
    axes = 2 if grid.in_plane else 3
    spacing = np.array(grid.spacing)
    extent = max(p * s for p, s in zip(grid.patch[:axes], grid.spacing, strict=False))
    distance = settings.elastic_spacing * extent
    x, y, z = distance / spacing
    counts = [bspline.control_points(p, h) for p, h in zip(grid.patch, (x, y, z), strict=True)]
    if grid.in_plane:
        counts[2] = 1
    amplitude = uniform(rng, settings.elastic_displacement) * distance
    control = rng.uniform(-amplitude, amplitude, (3, *counts)) / spacing[:, None, None, None]
    control[axes:] = 0
    return Elastic(control.astype(np.float32), (float(x), float(y), float(z)))


@dataclass(frozen=True)
class Source:
    """What a patch is cut from: memory-mapped arrays of one case.

    Attributes:
        image: ``(M, W, H, D)`` float32.
        label: ``(W, H, D)`` uint8, or ``None``.
        present: ``(M,)`` bool; the others are left zero.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None
    present: NDArray[np.bool_]


@dataclass(frozen=True)
class Target:
    """Where the patch goes: ``image`` ``(M, P0, P1, P2)`` and ``label`` ``(P0, P1, P2)``, both contiguous."""

    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Rules:
    """How labels are treated.

    Attributes:
        in_plane: whether the third axis is never interpolated.
        nearest: the nearest voxel's label instead of the argmax of the interpolated one-hot labels.
        outside: the label beyond the scan; the image is 0 there.
    """

    in_plane: bool
    nearest: bool = False
    outside: int = 0


def apply(source: Source, target: Target, start: Sequence[int], spatial: Spatial, rules: Rules) -> None:
    """Fills the target with one patch; nothing is interpolated where nothing was turned, scaled or bent."""
    if spatial.matrix is not None or spatial.elastic is not None:
        from medseg.patches.augment.warp import warp

        warp(source, target, start, spatial, rules)
        return
    if source.present.all():
        crop(source.image, target.image, start, spatial.flips, 0.0)
    else:
        for channel, present in enumerate(source.present):
            if present:
                crop(source.image[channel], target.image[channel], start, spatial.flips, 0.0)
            else:
                target.image[channel] = 0
    if target.label is not None and source.label is not None:
        crop(source.label, target.label, start, spatial.flips, rules.outside)
