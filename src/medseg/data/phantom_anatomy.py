"""What a phantom case looks like: structures in mm, two contrasts, and what a scanner does to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

GLAND, LESION, NODE = 1, 2, 3
FIELD_OF_VIEW = np.array([60.0, 60.0, 62.0])
"""In mm; the body is about 50 across."""


@dataclass(frozen=True)
class Scan:
    """One generated examination.

    Attributes:
        contrasts: modality -> ``(W, H, D)`` int16.
        label: ``(W, H, D)`` uint8, 0 background, 1 gland, 2 lesion, 3 node.
        affine: 4 x 4, index -> RAS mm, oblique.
    """

    contrasts: dict[str, NDArray[np.int16]]
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]


@dataclass(frozen=True)
class Scanner:
    """How one centre's machine differs from another's."""

    gain: float
    offset: float
    gamma: float
    noise: float
    bias: float


SCANNERS = (
    Scanner(gain=620.0, offset=20.0, gamma=1.0, noise=0.050, bias=0.18),
    Scanner(gain=1150.0, offset=60.0, gamma=1.15, noise=0.060, bias=0.26),
    Scanner(gain=380.0, offset=5.0, gamma=0.88, noise=0.055, bias=0.22),
)


def make_scan(
    anatomy: np.random.Generator,
    machine: np.random.Generator,
    nominal: tuple[int, int, int],
    scanner: Scanner,
    empty: bool,
) -> Scan:
    """One examination.

    Args:
        anatomy: draws the body; two cases of one patient share its seed.
        machine: draws pose, spacing and noise, which differ between a patient's examinations.
        nominal: voxels ``(W, H, D)`` that cover the field of view; the case's own shape varies about it.
        scanner: the centre's machine.
        empty: leaves gland, lesion and node out; what imitates them stays.
    """
    shape = tuple(round(n * float(machine.uniform(0.93, 1.07))) for n in nominal)
    affine = _affine(machine, shape, FIELD_OF_VIEW / np.array(nominal))
    mm = _positions(affine, shape)
    label, t1, flair = _draw(anatomy, mm, empty)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    contrasts = {
        "t1": _acquire(t1, machine, scanner, spacing),
        "flair": _acquire(flair, machine, scanner, spacing),
    }
    return Scan(contrasts, label, affine)


def _affine(
    rng: np.random.Generator, shape: tuple[int, ...], voxel: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Oblique, anisotropic, centred near the origin; one in four is stored as LPS."""
    in_plane = rng.uniform(0.92, 1.08)
    spacing = (voxel * [in_plane, in_plane * rng.uniform(0.98, 1.02), rng.uniform(0.85, 1.15)]).round(4)
    x, y, z = np.deg2rad(rng.uniform(-12, 12, 3))
    turn_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    turn_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    turn_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    flips = np.diag([-1.0, -1.0, 1.0]) if rng.random() < 0.25 else np.eye(3)
    affine = np.eye(4)
    affine[:3, :3] = turn_z @ turn_y @ turn_x @ flips @ np.diag(spacing)
    middle = (np.array(shape) - 1) / 2
    affine[:3, 3] = rng.uniform(-3, 3, 3) - affine[:3, :3] @ middle
    # Rounded so that a header in single precision holds the same numbers.
    return affine.astype(np.float32).astype(np.float64)


def _positions(affine: NDArray[np.float64], shape: tuple[int, ...]) -> Field:
    """The place of every voxel in mm, ``(3, W, H, D)``."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    placed = np.tensordot(affine[:3, :3], grid, axes=1) + affine[:3, 3].reshape(3, 1, 1, 1)
    return placed.astype(np.float32)


def _draw(rng: np.random.Generator, mm: Field, empty: bool) -> tuple[NDArray[np.uint8], Field, Field]:
    """Label and the two ideal contrasts, air 0, tissue about 0.5."""
    warped = mm + _waves(rng, mm, amplitude=1.6, wavelength=24.0)
    body = _ellipsoid(warped, np.zeros(3), rng.uniform((23, 21, 22), (27, 24, 26)), np.eye(3))
    inside = body < 1
    rind = inside & (body > 0.86)
    t1 = np.where(inside, np.float32(0.46), np.float32(0.02))
    flair = np.where(inside, np.float32(0.44), np.float32(0.02))
    t1[rind], flair[rind] = 0.92, 0.60
    gland, lesion, node = _targets(rng, warped)
    # Imitators keep away from what they imitate: where the two met, nobody could tell them apart.
    near = np.zeros_like(inside) if empty else (gland < 1.5) | (lesion < 1.8) | (node < 2.0)
    _imitate(rng, warped, inside & ~rind & ~near, t1, flair)
    label = np.zeros(mm.shape[1:], np.uint8)
    if not empty:
        _paint(label, t1, flair, (gland < 1, lesion < 1, node < 1))
    texture = _waves(rng, mm, amplitude=0.022, wavelength=9.0)
    t1 = t1 + inside * texture[0]
    flair = flair + inside * texture[1]
    return label, t1.astype(np.float32), flair.astype(np.float32)


def _targets(rng: np.random.Generator, mm: Field) -> tuple[Field, Field, Field]:
    """Gland, the lesion at its rim and the node on the far side of it; each is where its field is below 1."""
    centre = rng.uniform((-6, -4, -5), (6, 4, 5))
    axes = rng.uniform((8.5, 7.0, 8.0), (11.5, 9.5, 11.0))
    turn = _rotation(rng)
    direction = _direction(rng)
    rim = centre + turn.T @ (direction * axes * 0.8)
    side = -direction + 0.5 * _direction(rng)
    hang = centre + turn.T @ (side / np.linalg.norm(side) * (axes + 4.5))
    return (
        _ellipsoid(mm, centre, axes, turn),
        _ellipsoid(mm, rim, rng.uniform((5.5, 5.0, 5.5), (8.0, 7.0, 8.0)), _rotation(rng)),
        _ellipsoid(mm, hang, rng.uniform(4.2, 5.4, 3), np.eye(3)),
    )


def _paint(label: NDArray[np.uint8], t1: Field, flair: Field, masks: tuple[Mask, Mask, Mask]) -> None:
    """The gland shows in t1 only, the lesion in flair only, the node is told by both."""
    gland, lesion, node = masks
    for code, where in ((GLAND, gland), (LESION, lesion), (NODE, node)):
        label[where] = code
    t1[gland | lesion] = 0.66
    flair[gland & ~lesion] = 0.44
    flair[lesion] = 0.68
    t1[node], flair[node] = 0.26, 0.68


def _imitate(rng: np.random.Generator, mm: Field, room: Mask, t1: Field, flair: Field) -> None:
    """Structures with the intensities of the targets in one contrast, another shape or surrounding."""
    for _ in range(8):  # vessels: the gland's intensity in t1, long and thin
        start, way = rng.uniform(-20, 20, 3), _direction(rng)
        tube = room & (_distance_to_line(mm, start, way) < rng.uniform(1.6, 2.8))
        t1[tube], flair[tube] = 0.66, 0.40
    for _ in range(12):  # bright foci: the lesion in flair, nothing in t1, and away from any gland
        focus = room & (_ellipsoid(mm, _far(rng), rng.uniform(2.5, 5.0, 3), np.eye(3)) < 1)
        flair[focus] = 0.68
    for _ in range(8):  # cysts: the node in t1, dark in flair
        cyst = room & (_ellipsoid(mm, _far(rng), rng.uniform(2.5, 5.0, 3), np.eye(3)) < 1)
        t1[cyst], flair[cyst] = 0.26, 0.22


def _far(rng: np.random.Generator) -> NDArray[np.float64]:
    """A place in the outer part of the body."""
    return _direction(rng) * rng.uniform(15, 21)


def _acquire(
    ideal: Field, rng: np.random.Generator, scanner: Scanner, spacing: NDArray[np.float64]
) -> NDArray[np.int16]:
    """Blur, bias field, Rician noise and the centre's scale of intensities."""
    from scipy.ndimage import gaussian_filter, zoom

    blurred = gaussian_filter(ideal, 0.45 / spacing * spacing[0])
    coarse = rng.normal(size=(4, 4, 4)).astype(np.float32)
    bias = zoom(coarse, [n / 4 for n in ideal.shape], order=3, mode="nearest", grid_mode=True)
    bias = np.exp(scanner.bias * bias / max(1.0, float(np.abs(bias).max())))
    real = blurred * bias + scanner.noise * rng.normal(size=ideal.shape)
    imaginary = scanner.noise * rng.normal(size=ideal.shape)
    magnitude = np.hypot(real, imaginary) ** scanner.gamma
    scale = scanner.gain * rng.uniform(0.85, 1.15)
    rounded = np.rint(magnitude * scale + scanner.offset)
    stored: NDArray[np.int16] = np.clip(rounded, 0, 32767).astype(np.int16)
    return stored


def _ellipsoid(mm: Field, centre: NDArray[Any], axes: NDArray[Any], turn: NDArray[Any]) -> Field:
    """Squared distance in units of the axes: below 1 inside."""
    local = np.tensordot(turn / np.asarray(axes)[:, None], mm - centre.reshape(3, 1, 1, 1), axes=1)
    return np.asarray((local**2).sum(axis=0), dtype=np.float32)


def _distance_to_line(mm: Field, point: NDArray[Any], way: NDArray[Any]) -> Field:
    away = mm - point.reshape(3, 1, 1, 1)
    along = np.tensordot(way, away, axes=1)
    return np.asarray(np.sqrt(np.maximum((away**2).sum(axis=0) - along**2, 0)), dtype=np.float32)


def _waves(rng: np.random.Generator, mm: Field, amplitude: float, wavelength: float) -> Field:
    """Three smooth random fields ``(3, W, H, D)``, fixed in the body: a sum of plane waves in mm."""
    total = np.zeros_like(mm)
    for axis in range(3):
        for _ in range(4):
            way = _direction(rng) * 2 * np.pi / (wavelength * rng.uniform(0.7, 1.4))
            total[axis] += np.sin(np.tensordot(way, mm, axes=1) + rng.uniform(0, 2 * np.pi)).astype(
                np.float32
            )
    return np.asarray(total * np.float32(amplitude / np.sqrt(2.0)), dtype=np.float32)


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    drawn = rng.normal(size=3)
    return np.asarray(drawn / np.linalg.norm(drawn), dtype=np.float64)


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    first = _direction(rng)
    second = np.cross(first, _direction(rng))
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)])
