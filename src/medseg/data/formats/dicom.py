"""DICOM: a folder that holds one series, or one file. Slices are placed by their own positions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.data.formats.itk import affine_of, information, last_line
from medseg.data.formats.volume import Header, pick_component, refuse_size
from medseg.errors import UserError

SUFFIXES = (".dcm", ".dicom", ".ima")
NOT_SCANS = ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG")

_WITHOUT_PIXELS = (b"9", b"11", b"66", b"88", b"104", b"481")  # SOP classes: curves, states, reports, RT
_FIX = "the file is truncated or corrupt; copy it again from its source"
_SERIES, _MODALITY = "0020|000e", "0008|0060"


@dataclass(frozen=True)
class _Slice:
    path: Path
    series: str
    size: tuple[int, ...]
    affine: NDArray[np.float64]
    components: int
    dtype: str


def is_series(folder: Path) -> bool:
    """Whether a folder holds DICOM files directly; looks at a few of its files."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    return any(_is_dicom(path) for path in files[:5])


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.suffix and not path.suffix[1:].isdigit():  # names like 1.2.840.113619 end in a number
        return False
    return _start(path)[128:132] == b"DICM"


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError:
        return b""


def _slices(path: Path) -> list[_Slice]:
    """The files of the one image series, in the order of their positions.

    Raises:
        UserError: no image, several series, or files that do not stack to one volume.
    """
    files = (
        [path] if path.is_file() else [p for p in sorted(path.iterdir()) if p.is_file() and p.name[0] != "."]
    )
    found = [piece for file in files if _is_dicom(file) and (piece := _slice(file))]
    if not found:
        raise UserError(str(path), "holds no readable DICOM image", "name the folder of an image series")
    series = sorted({piece.series for piece in found})
    if len(series) > 1:
        problem = f"holds {len(series)} image series ({', '.join(series)})"
        raise UserError(str(path), problem, "put each series in a folder of its own")
    first = found[0]
    for piece in found:
        if piece.size != first.size or not np.allclose(piece.affine[:, :3], first.affine[:, :3], atol=1e-4):
            problem = f"{piece.path.name} has another size or orientation than {first.path.name}"
            raise UserError(str(path), problem, "keep one acquisition, without localisers, in the folder")
    normal = first.affine[:3, 2] / np.linalg.norm(first.affine[:3, 2])
    return sorted(found, key=lambda piece: float(normal @ piece.affine[:3, 3]))


def _slice(path: Path) -> _Slice | None:
    """One file's header, or ``None`` where the file is no image."""
    try:
        info = information(path)
    except RuntimeError as error:
        kind = re.search(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(\d+)", _start(path))
        # Without a class it is a DICOMDIR or the like, unless the name claims an image.
        if (kind[1] in _WITHOUT_PIXELS) if kind else path.suffix.lower() not in SUFFIXES:
            return None
        raise UserError(str(path), f"cannot be read ({last_line(error)})", _FIX) from None
    tags = {key: info.GetMetaData(key).strip("\0 ") for key in info.GetMetaDataKeys()}
    if tags.get(_MODALITY) in NOT_SCANS:
        return None
    import SimpleITK as sitk

    dtype = sitk.GetArrayFromImage(sitk.Image([1, 1], _scalar(info))).dtype.name
    size = tuple(int(n) for n in info.GetSize())
    return _Slice(path, tags.get(_SERIES, ""), size, affine_of(info), info.GetNumberOfComponents(), dtype)


def _scalar(info: Any) -> int:
    """The pixel type of one component."""
    import SimpleITK as sitk

    pixel: int = info.GetPixelID()
    offset: int = sitk.sitkVectorUInt8 - sitk.sitkUInt8
    return pixel - offset if pixel >= sitk.sitkVectorUInt8 else pixel


def _affine(path: Path, slices: list[_Slice]) -> NDArray[np.float64]:
    """RAS affine: the in-plane axes of the slices, and the step from the first to the last."""
    affine = slices[0].affine.copy()
    if len(slices) == 1:
        return affine
    origins = np.stack([piece.affine[:3, 3] for piece in slices])
    steps = np.diff(origins, axis=0)
    gaps = np.linalg.norm(steps, axis=1)
    if gaps.min() < 1e-4:
        problem = f"{slices[int(gaps.argmin())].path.name} lies where another slice lies"
        raise UserError(str(path), problem, "keep one time point, echo or phase in the folder")
    mean = (origins[-1] - origins[0]) / (len(slices) - 1)
    if np.abs(steps - mean).max() > max(0.02 * float(np.linalg.norm(mean)), 2e-3):
        problem = f"slices are missing or uneven (gaps of {gaps.min():.3f} to {gaps.max():.3f} mm)"
        raise UserError(str(path), problem, "complete the series or resample it to an even grid")
    affine[:3, 2] = mean
    return affine


def read_header(path: Path) -> Header:
    """The header of a series; every file's tags are read, no pixels."""
    slices = _slices(path)
    return _header(path, slices)


def _header(path: Path, slices: list[_Slice]) -> Header:
    first = slices[0]
    depth = first.size[2] if len(first.size) > 2 else 1
    if len(slices) > 1 and depth > 1:
        raise UserError(str(path), "holds several multi-frame files", "put each file in a folder of its own")
    grid = (first.size[0], first.size[1], max(len(slices), depth))
    shape = grid if first.components == 1 else (*grid, first.components)
    affine = _affine(path, slices)
    stored = sum(piece.path.stat().st_size for piece in slices)
    dtype = np.result_type(*{piece.dtype for piece in slices}).name
    # Stored pixels may be narrower than rescaled ones, or compressed: the ratio bound is what applies.
    refuse_size(path, shape, np.dtype(dtype).itemsize, stored, compressed=True)
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return Header(shape, affine, (float(x), float(y), float(z)), dtype)


def read_array(path: Path, header: Header, component: int | None) -> NDArray[Any]:
    """The voxels ``(W, H, D)`` after each slice's own rescaling (Hounsfield units for CT)."""
    import SimpleITK as sitk

    chosen = pick_component(path, header, component)
    planes = []
    for piece in _slices(path):
        try:
            image = sitk.ReadImage(str(piece.path))
        except RuntimeError as error:
            problem = f"cannot be read ({last_line(error)})"
            raise UserError(str(piece.path), problem, _FIX) from None
        array = sitk.GetArrayFromImage(image)
        planes.append(array[..., chosen] if image.GetNumberOfComponentsPerPixel() > 1 else array)
    stack = np.concatenate([plane.reshape(-1, *header.grid[1::-1]) for plane in planes])
    return stack.transpose(2, 1, 0)
