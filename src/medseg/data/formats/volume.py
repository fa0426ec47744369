"""A file's header and its voxels, whatever the format, and the sizes that are believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UserError

MAX_BYTES = 32 * 2**30
"""No scan of one case is larger; a header that announces more is broken or hostile."""

DEFLATE_RATIO = 1040
"""Deflate cannot shrink by more than 1032 : 1."""


@dataclass(frozen=True)
class Header:
    """What a file says about itself, unmended: zero, negative or NaN geometry is reported as it stands.

    Attributes:
        shape: ``(W, H, D)``, and further axes where the file has them.
        affine: ``(4, 4)`` float64, voxel index -> RAS mm.
        spacing: the declared voxel size along each of the three axes, in mm.
        dtype: the stored type, as NumPy names it.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float]
    dtype: str

    @property
    def grid(self) -> tuple[int, int, int]:
        """``(W, H, D)``."""
        width, height, depth = self.shape[:3]
        return width, height, depth

    @property
    def components(self) -> int:
        """Volumes in the file: modalities of a 4D file, colours of a picture; mostly 1."""
        return math.prod(self.shape[3:])


@dataclass(frozen=True)
class Volume:
    """Voxels on their grid.

    Attributes:
        array: ``(W, H, D)``, in the stored type unless the file asks for scaling.
        affine: ``(4, 4)`` float64, voxel index -> RAS mm; finite and invertible.
        header: what the file says about itself.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    header: Header

    @property
    def spacing(self) -> tuple[float, float, float]:
        """The voxel size in mm, from the affine."""
        x, y, z = voxel_size(self.affine)
        return x, y, z


def voxel_size(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """The lengths of an affine's columns, in mm."""
    x, y, z = np.sqrt((np.asarray(affine, dtype=np.float64)[:3, :3] ** 2).sum(axis=0))
    return float(x), float(y), float(z)


def refuse_size(path: Path, shape: tuple[int, ...], itemsize: int, stored: int, *, compressed: bool) -> int:
    """Bytes of voxels a header announces, once they are believable; called before any allocation.

    Args:
        path: the file, for the message.
        shape: all axes that the header announces.
        itemsize: bytes of a voxel.
        stored: bytes on disk that hold the voxels.
        compressed: whether those bytes are deflated.

    Raises:
        UserError: an axis below 1, more than `MAX_BYTES`, or more than ``stored`` can hold.
    """
    fix = "the file is damaged or not what it claims; replace it"
    if min(shape) < 1:
        raise UserError(str(path), f"the header announces an axis of {min(shape)} voxels", fix)
    announced = math.prod(shape) * itemsize
    sized = " x ".join(map(str, shape))
    if announced > MAX_BYTES:
        size = f"{announced / 2**30:,.0f} GiB; at most {MAX_BYTES // 2**30} are read"
        raise UserError(str(path), f"the header announces {sized} voxels, {size}", fix)
    if announced > stored * (DEFLATE_RATIO if compressed else 1):
        problem = f"the header announces {sized} voxels, but the file holds {stored:,} bytes"
        raise UserError(str(path), problem, fix)
    return announced


def refuse_geometry(path: Path, affine: NDArray[np.float64]) -> None:
    """Raises `UserError` where an affine cannot place voxels: NaN, infinite, or singular."""
    fix = "correct the header, for instance from the original DICOM"
    if not np.isfinite(affine).all():
        raise UserError(str(path), "the affine has NaN or infinite entries", fix)
    size = voxel_size(affine)
    if min(size) == 0 or abs(np.linalg.det(affine[:3, :3] / size)) < 1e-6:
        raise UserError(str(path), f"the affine is singular (voxel size {size} mm)", fix)


def pick_component(path: Path, header: Header, component: int | None) -> int:
    """The component to read: the one asked for, or the only one.

    Raises:
        UserError: there are several and none is named, or the named one does not exist.
    """
    if component is None:
        if header.components == 1:
            return 0
        problem = f"holds {header.components} volumes (shape {header.shape}) where one is expected"
        raise UserError(str(path), problem, "give each volume its own file, or name a modality for each")
    if not 0 <= component < header.components:
        problem = f"has no volume {component}; it holds {header.components}"
        raise UserError(str(path), problem, "correct the list of modalities")
    return component


def label_dtype(array: NDArray[Any]) -> np.dtype[Any]:
    """The smallest unsigned type that holds a label map, int32 for negative values, float32 for fractions."""
    if array.dtype.kind == "f":
        return np.dtype(np.float32)
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0:
        return np.dtype(np.int32)
    return np.min_scalar_type(high)
