"""NIfTI-1 and -2, plain or gzipped. Headers are read raw, because nibabel mends some in silence."""

from __future__ import annotations

import gzip
import warnings
import zlib
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medseg.data.formats.volume import (
    Header,
    label_dtype,
    pick_component,
    refuse_size,
    voxel_size,
)
from medseg.errors import UserError
from medseg.files import atomic_path

SUFFIXES = (".nii", ".nii.gz")
_CLASSES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_FIX = "the file is truncated or corrupt; copy it again from its source"


def _gzipped(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _open(path: Path) -> IO[bytes]:
    opened: Any = gzip.open if _gzipped(path) else open
    file: IO[bytes] = opened(path, "rb")
    return file


def _raw(path: Path) -> Any:
    """The header block as nibabel understands it, unchecked and unmended."""
    try:
        with _open(path) as file:
            block = file.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(str(path), f"cannot be read ({error})", _FIX) from None
    for order in ("<", ">"):
        size = int(np.frombuffer(block[:4], dtype=f"{order}i4")[0]) if len(block) >= 4 else 0
        if size in _CLASSES and len(block) >= size:
            header = _CLASSES[size](block[:size], endianness=order, check=False)
            if bytes(header["magic"])[:3] in (b"n+1", b"n+2"):
                return header
    raise UserError(str(path), "has no NIfTI header", "check that it is a .nii or .nii.gz file; " + _FIX)


def _shape(path: Path, raw: Any) -> tuple[int, ...]:
    axes = int(raw["dim"][0])
    if not 1 <= axes <= 7:
        raise UserError(str(path), f"the header announces {axes} axes", _FIX)
    shape = tuple(int(n) for n in raw["dim"][1 : 1 + axes])
    return shape + (1,) * (3 - len(shape))


def _dtype(path: Path, raw: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(raw.get_data_dtype())
    except (HeaderDataError, KeyError):
        code = int(raw["datatype"])
        raise UserError(str(path), f"the header announces the unknown voxel type {code}", _FIX) from None
    return dtype


def _affine(raw: Any) -> NDArray[np.float64]:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return np.asarray(raw.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        return np.full((4, 4), np.nan)  # a quaternion longer than 1, or NaN in it


def read_header(path: Path) -> Header:
    """The header of a NIfTI file; see `Header`. Reads a kilobyte."""
    raw = _raw(path)
    shape, dtype = _shape(path, raw), _dtype(path, raw)
    stored = path.stat().st_size - (0 if _gzipped(path) else raw.single_vox_offset)
    refuse_size(path, shape, dtype.itemsize, stored, compressed=_gzipped(path))
    x, y, z = (float(s) for s in raw["pixdim"][1:4])
    return Header(shape, _affine(raw), (x, y, z), dtype.name)


def read_array(path: Path, header: Header, component: int | None) -> NDArray[Any]:
    """The voxels ``(W, H, D)`` of one component, scaled where the header says so.

    Decompression is bounded by the announced size, and runs to the end so that the checksum is seen.
    """
    raw = _raw(path)
    dtype = _dtype(path, raw)
    if dtype.kind not in "iuf":
        problem = f"voxels of type {dtype.name} (colour or complex) are not scans"
        raise UserError(str(path), problem, "store one number per voxel")
    chosen = pick_component(path, header, component)
    array: NDArray[Any] = np.empty(int(np.prod(header.grid)), dtype)
    view = memoryview(array.view(np.uint8).data)
    try:
        with _open(path) as file:
            file.seek(_offset(path, raw) + chosen * array.nbytes)
            filled = _fill(file, view)
            if _gzipped(path):
                _drain(file, (header.components - chosen) * array.nbytes)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(str(path), f"cannot be read ({error})", _FIX) from None
    if filled < array.nbytes:
        problem = f"ends after {filled // dtype.itemsize:,} of {array.size:,} voxels"
        raise UserError(str(path), problem, _FIX)
    array = array.reshape(header.grid, order="F")
    return _scaled(path, raw, array.astype(dtype.newbyteorder("="), copy=False))


def _offset(path: Path, raw: Any) -> int:
    offset = float(raw["vox_offset"])
    if not 0 <= offset <= 2**30:  # extensions are kilobytes
        raise UserError(str(path), f"the header puts the voxels at byte {offset}", _FIX)
    return int(offset) or int(raw.single_vox_offset)


def _fill(file: IO[bytes], view: memoryview) -> int:
    """Reads until ``view`` is full or the file ends; returns the bytes read."""
    filled = 0
    while filled < len(view) and (chunk := file.read(min(1 << 22, len(view) - filled))):
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return filled


def _drain(file: IO[bytes], left: int) -> None:
    """Reads on to the end, where gzip keeps its checksum; gives up on an endless tail."""
    left += 1 << 26
    while left > 0 and (chunk := file.read(1 << 20)):
        left -= len(chunk)


def _scaled(path: Path, raw: Any, array: NDArray[Any]) -> NDArray[Any]:
    try:
        slope, inter = raw.get_slope_inter()
    except HeaderDataError as error:
        raise UserError(str(path), f"the intensity scaling is unusable ({error})", _FIX) from None
    if slope is None or (slope == 1 and not inter):
        return array
    # float32 holds every 16-bit value; wider types need more.
    narrow = array.dtype.itemsize <= 2 or array.dtype == np.float32
    wide: NDArray[Any] = array.astype(np.float32 if narrow else np.float64)
    wide *= slope
    wide += inter or 0
    return wide


def write(array: NDArray[Any], affine: NDArray[np.float64], target: Path, like: Path | None) -> None:
    """Writes a label map ``(W, H, D)``; atomic.

    Args:
        array: integers.
        affine: voxel index -> RAS mm, used where there is no ``like``.
        target: a ``.nii`` or ``.nii.gz`` path.
        like: a NIfTI file whose q/sform and their codes, pixdim, units and axes are taken over.
    """
    dtype = label_dtype(array)
    if like is None:
        image = nib.Nifti1Image(array.astype(dtype), None)
        _place(image.header, affine)
    else:
        raw = _raw(like)
        shape = _declared_shape(raw)
        array = array.reshape(shape if int(np.prod(shape)) == array.size else array.shape)
        big = max(array.shape) > np.iinfo(np.int16).max
        kind = nib.Nifti2Image if isinstance(raw, nib.Nifti2Header) or big else nib.Nifti1Image
        image = kind(array.astype(dtype), None, header=_clean(raw))
        image.header.set_data_dtype(dtype)
    with atomic_path(target) as temporary:
        nib.save(image, temporary)


def _declared_shape(raw: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in raw["dim"][1 : 1 + int(raw["dim"][0])])


def _clean(raw: Any) -> Any:
    """The geometry of a header without what belongs to its voxels (scaling, display, free text)."""
    header = raw.copy()
    for field in ("scl_slope", "scl_inter", "cal_min", "cal_max", "intent_code", "intent_p1", "intent_p2"):
        header[field] = 0
    for field in ("intent_name", "descrip", "aux_file"):
        header[field] = b""
    header["intent_p3"] = 0
    header["vox_offset"] = 0
    return header


def _place(header: Any, affine: NDArray[np.float64]) -> None:
    header.set_zooms(voxel_size(affine))
    header.set_xyzt_units("mm")
    header.set_sform(affine, code=1)
    try:
        header.set_qform(affine, code=1, strip_shears=False)
    except HeaderDataError:  # a quaternion cannot hold shear: the sform alone speaks
        header.set_qform(None, code=0)
