"""One door to every file format: `read_header`, `read_volume`, `write_like`.

A format family is one file here with ``SUFFIXES``, ``read_header``, ``read_array`` and mostly ``write``.
Coordinates leave this folder as RAS millimetres and arrays as ``(W, H, D)``, whatever a library thinks.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.data.formats.volume import Header, Volume, refuse_geometry, voxel_size
from medseg.errors import UserError

__all__ = [
    "Header",
    "Volume",
    "is_picture",
    "is_scan",
    "label_suffix",
    "map_suffix",
    "read_header",
    "read_volume",
    "stem",
    "suffix",
    "voxel_size",
    "write_like",
    "write_map_like",
    "write_volume",
]


def _families() -> dict[str, ModuleType]:
    """Suffix -> module. Imported on use: SimpleITK and nibabel are slow to load."""
    from medseg.data.formats import dicom, itk, nifti, pictures

    return {suffix: module for module in (nifti, itk, pictures, dicom) for suffix in module.SUFFIXES}


def suffix(path: Path) -> str:
    """The ending that names the format, lower case (``.nii.gz``), or ``""`` where no family has it."""
    name = path.name.lower()
    return max((s for s in _families() if name.endswith(s)), key=len, default="")


def stem(path: Path) -> str:
    """The file's name without the ending that names the format."""
    return path.name[: -len(found)] if (found := suffix(path)) else path.name


def is_scan(path: Path) -> bool:
    """Whether a file, by its name, or a folder of DICOM files can be read."""
    from medseg.data.formats import dicom

    if path.name.startswith("."):  # macOS leaves "._scan.nii.gz" beside "scan.nii.gz"
        return False
    return dicom.is_series(path) if path.is_dir() else bool(suffix(path))


def is_picture(path: Path) -> bool:
    """Whether a file is a picture: 2D, without a place in the body, perhaps in colour."""
    from medseg.data.formats import pictures

    return suffix(path) in pictures.SUFFIXES


def _family(path: Path) -> ModuleType:
    from medseg.data.formats import dicom

    if path.is_dir():
        return dicom
    if found := _families().get(suffix(path)):
        return found
    known = ", ".join(_families())
    raise UserError(
        str(path), "this file type is not known", f"use one of {known}, or a folder of DICOM files"
    )


def read_header(path: Path) -> Header:
    """What a scan says about itself, without its voxels and without judging its geometry.

    Raises:
        UserError: the file is missing, truncated, corrupt, of an unknown type, or announces an absurd size.
    """
    path = Path(path)
    _exists(path)
    header: Header = _family(path).read_header(path)
    return header


def read_volume(path: Path, component: int | None = None) -> Volume:
    """A scan's voxels ``(W, H, D)`` and affine.

    Args:
        path: a file, or the folder of a DICOM series.
        component: which volume of a 4D file, or which colour of a picture; ``None`` where there is one.
            A colour picture without it is read as its luminance.

    Raises:
        UserError: anything that makes the voxels or their place unusable.
    """
    path = Path(path)
    header = read_header(path)
    refuse_geometry(path, header.affine)
    array = _family(path).read_array(path, header, component)
    return Volume(array, header.affine, header)


def label_suffix(reference: Path) -> str:
    """The ending of a label map that goes with ``reference``: its own, or the nearest that can hold one."""
    if Path(reference).is_dir():
        return ".nii.gz"
    own = suffix(reference)
    if own in (".nii", ".nii.gz", ".nrrd", ".mha", ".gipl", ".gipl.gz", ".png", ".tif", ".tiff"):
        return own
    return {".mhd": ".mha", ".nhdr": ".nrrd"}.get(own, ".png" if is_picture(reference) else ".nii.gz")


def map_suffix(reference: Path) -> str:
    """The ending of a map of fractions that goes with ``reference``: a label map's, TIFF for a picture."""
    own = label_suffix(reference)
    return ".tif" if own in (".png", ".tif", ".tiff") else own


def write_like(array: NDArray[Any], reference: Path, target: Path) -> None:
    """Writes a label map on the grid of ``reference``: shape, affine, spacing, axes, codes and units.

    Args:
        array: ``(W, H, D)`` integers; stored in the smallest type that holds them.
        reference: the scan that was segmented.
        target: where to write; its ending names the format. `label_suffix` gives the one that fits.

    Raises:
        UserError: the array is not on the reference's grid, or the format cannot hold it.
    """
    _refuse_fractions(array, target)
    _write_on_grid(array, Path(reference), Path(target))


def write_map_like(array: NDArray[np.float32], reference: Path, target: Path) -> None:
    """Writes a map of fractions ``(W, H, D)`` as float32 on the grid of ``reference``, as `write_like` does.

    `map_suffix` gives an ending that fits.

    Raises:
        UserError: the array is not on the reference's grid, or the format cannot hold it.
    """
    _write_on_grid(np.asarray(array, dtype=np.float32), Path(reference), Path(target))


def _write_on_grid(array: NDArray[Any], reference: Path, target: Path) -> None:
    header = read_header(reference)
    if array.shape != header.grid:
        problem = f"a map of shape {array.shape} does not fit the grid {header.grid} of {reference}"
        raise UserError(str(target), problem, "predict on the file that is the reference")
    same = _family(reference) is _family(target)
    _write(array, header.affine, target, reference if same else None)


def write_volume(array: NDArray[Any], affine: NDArray[np.float64], target: Path) -> None:
    """Writes a label map ``(W, H, D)`` with an affine of its own (RAS mm); the ending names the format."""
    _refuse_fractions(array, target)
    _write(array, affine, Path(target), None)


def _refuse_fractions(array: NDArray[Any], target: Path) -> None:
    if array.dtype.kind not in "biu":
        raise UserError(str(target), f"a label map holds integers, not {array.dtype}", "round it first")


def _write(array: NDArray[Any], affine: NDArray[np.float64], target: Path, like: Path | None) -> None:
    family = _family(target)
    if not hasattr(family, "write"):
        raise UserError(str(target), "label maps are not written as DICOM images", "use .nii.gz")
    family.write(array, affine, target, like)


def _exists(path: Path) -> None:
    if not path.exists():
        raise UserError(str(path), "is not there", "correct the path, or restore the file")
