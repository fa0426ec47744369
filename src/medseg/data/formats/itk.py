"""NRRD, MetaImage and GIPL through SimpleITK. ITK's world is LPS; nothing outside these files sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.data.formats.text_headers import Declared, declared, refuse_broken_stream
from medseg.data.formats.volume import Header, label_dtype, pick_component, refuse_size, voxel_size
from medseg.errors import UserError
from medseg.files import atomic_path

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz")
_FIX = "the file is truncated or corrupt; copy it again from its source"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""LPS <-> RAS; its own inverse."""


def read_header(path: Path) -> Header:
    """The header of a NRRD, MetaImage or GIPL file; see `Header`."""
    found = declared(path)
    refuse_size(
        path, found.shape, np.dtype(found.dtype).itemsize, found.stored, compressed=found.packing != "raw"
    )
    spacing = (*found.spacing, 1.0, 1.0)[:3]
    try:
        info = information(path)
    except RuntimeError as error:
        return _unplaced(path, found, spacing, error)
    if info.GetDimension() < 3:
        spacing = (*spacing[:2], 1.0)
    return Header(_shape(info), affine_of(info), (spacing[0], spacing[1], spacing[2]), found.dtype)


def _unplaced(path: Path, found: Declared, spacing: tuple[float, ...], error: RuntimeError) -> Header:
    """The header of a file that ITK refuses: for its geometry, which is reported, or as corrupt."""
    x, y, z = spacing
    if np.isfinite(spacing).all() and min(spacing) > 0 and "direction" not in str(error).lower():
        raise UserError(str(path), f"cannot be read ({last_line(error)})", _FIX) from None
    shape = found.shape if len(found.shape) >= 3 else (*found.shape, 1)
    return Header(shape, np.full((4, 4), np.nan), (x, y, z), found.dtype)


def information(path: Path) -> Any:
    """SimpleITK's reader of ``path`` with the header read.

    Raises:
        RuntimeError: ITK refuses the file.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _shape(info: Any) -> tuple[int, ...]:
    size = tuple(int(n) for n in info.GetSize())
    size += (1,) * (3 - len(size))
    return size if info.GetNumberOfComponents() == 1 else (*size, info.GetNumberOfComponents())


def affine_of(info: Any) -> NDArray[np.float64]:
    """The RAS affine of a SimpleITK image or reader, of whose axes the first three count."""
    dims = info.GetDimension()
    used = min(dims, 3)
    affine = np.eye(4)
    direction = np.array(info.GetDirection(), dtype=np.float64).reshape(dims, dims)[:used, :used]
    affine[:used, :used] = direction * np.array(info.GetSpacing()[:used])
    affine[:used, 3] = info.GetOrigin()[:used]
    ras: NDArray[np.float64] = LPS @ affine
    if dims < 3:  # a picture: the plane as it is stored, without a place in the body
        ras[:2] = affine[:2]
    return ras


def read_array(path: Path, header: Header, component: int | None) -> NDArray[Any]:
    """The voxels ``(W, H, D)`` of one component."""
    import SimpleITK as sitk

    chosen = pick_component(path, header, component)
    refuse_broken_stream(path, declared(path))
    try:
        image = sitk.ReadImage(str(path))
        vector = image.GetNumberOfComponentsPerPixel() > 1
        array = sitk.GetArrayFromImage(image)
    except RuntimeError as error:
        raise UserError(str(path), f"cannot be read ({last_line(error)})", _FIX) from None
    array = np.moveaxis(array, -1, 0) if vector else array
    if vector or image.GetDimension() > 3:
        array = array.reshape(header.components, *header.grid[::-1])[chosen]
    return np.ascontiguousarray(array).reshape(header.grid[::-1]).transpose(2, 1, 0)


def write(array: NDArray[Any], affine: NDArray[np.float64], target: Path, like: Path | None) -> None:
    """Writes a label map ``(W, H, D)``, compressed where the format can; atomic.

    Args:
        array: integers.
        affine: voxel index -> RAS mm, used where there is no ``like``.
        target: a ``.nrrd``, ``.mha``, ``.gipl`` or ``.gipl.gz`` path.
        like: a file of this family whose grid is taken over to the last bit.
    """
    import SimpleITK as sitk

    if target.suffix.lower() in (".mhd", ".nhdr"):
        raise UserError(
            str(target), "a header apart from its voxels cannot be replaced in one go", "use .mha"
        )
    voxels = array.astype(label_dtype(array)).T
    info = None if like is None else information(like)
    if info is not None and info.GetDimension() == 2:
        voxels = voxels[0]
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    if info is None:
        _place(image, affine)
    else:
        dims = image.GetDimension()
        matrix = np.array(info.GetDirection()).reshape(info.GetDimension(), -1)[:dims, :dims]
        image.SetSpacing(info.GetSpacing()[:dims])
        image.SetOrigin(info.GetOrigin()[:dims])
        image.SetDirection(matrix.ravel().tolist())
    with atomic_path(target) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=target.suffix.lower() in (".nrrd", ".mha"))


def _place(image: Any, affine: NDArray[np.float64]) -> None:
    lps = LPS @ affine
    spacing = np.array(voxel_size(lps))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())


def last_line(error: Exception) -> str:
    """What ITK means, without the C++ trace before it."""
    return str(error).strip().splitlines()[-1].strip()
