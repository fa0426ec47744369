"""The sizes and spacings in NRRD, MetaImage and GIPL headers, read without the library that allocates."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from medseg.errors import UserError

_LIMIT = 1 << 20  # a header is a few kilobytes; Slicer writes long ones
_FIX = "the file is truncated or corrupt; copy it again from its source"
_META_TYPES = {
    "UCHAR": "uint8",
    "CHAR": "int8",
    "USHORT": "uint16",
    "SHORT": "int16",
    "UINT": "uint32",
    "INT": "int32",
    "ULONG_LONG": "uint64",
    "LONG_LONG": "int64",
    "ULONG": "uint64",
    "LONG": "int64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}
_NRRD_TYPES = {
    "uint8": "uchar|unsigned char|uint8|uint8_t",
    "int8": "signed char|int8|int8_t",
    "uint16": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "int16": "short|short int|signed short|signed short int|int16|int16_t",
    "uint32": "uint|unsigned int|uint32|uint32_t",
    "int32": "int|signed int|int32|int32_t",
    "uint64": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "int64": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "float32": "float",
    "float64": "double",
}
_GIPL_TYPES = {7: "int8", 8: "uint8", 15: "int16", 16: "uint16", 31: "uint32", 32: "int32"} | {
    64: "float32",
    65: "float64",
}


@dataclass(frozen=True)
class Declared:
    """What a header declares, before anything is allocated.

    Attributes:
        shape: all axes, fastest first, colours and vectors included.
        dtype: of a voxel, as NumPy names it.
        spacing: per spatial axis, in mm, as it stands.
        data: the file that holds the voxels; the header's own, or one beside it.
        start: the byte of ``data`` at which they, or the stream that holds them, begin.
        packing: ``raw``, ``gzip``, ``zlib``, or ``other`` (bzip2, text).
        skip: bytes of the unpacked stream before the voxels.
    """

    shape: tuple[int, ...]
    dtype: str
    spacing: tuple[float, ...]
    data: Path
    start: int
    packing: str
    skip: int = 0

    @property
    def stored(self) -> int:
        """Bytes on disk that hold the voxels."""
        return self.data.stat().st_size - (self.start if self.packing == "raw" else 0)


def declared(path: Path) -> Declared:
    """Parses the header of a .nrrd, .nhdr, .mha, .mhd, .gipl or .gipl.gz file.

    Raises:
        UserError: it cannot be read, lacks a field, or names a data file in another folder.
    """
    name = path.name.lower()
    try:
        if name.endswith((".gipl", ".gipl.gz")):
            return _gipl(path)
        return _nrrd(path) if name.endswith((".nrrd", ".nhdr")) else _meta(path)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(str(path), f"cannot be read ({error})", _FIX) from None
    except KeyError as error:
        raise UserError(str(path), f"the header has no usable field {error}", _FIX) from None
    except ValueError as error:
        raise UserError(str(path), f"the header has an unreadable field ({error})", _FIX) from None


def _meta(path: Path) -> Declared:
    fields: dict[str, str] = {}
    start = 0
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(_LIMIT), b""):
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
            start = file.tell()
            if key.strip() == "ElementDataFile" or start > _LIMIT:
                break
    shape = [int(n) for n in fields["DimSize"].split()]
    if (channels := int(fields.get("ElementNumberOfChannels", 1))) > 1:
        shape = [channels, *shape]
    spacing = tuple(
        float(s) for s in fields.get("ElementSpacing", fields.get("ElementSize", "1 1 1")).split()
    )
    data = fields["ElementDataFile"]
    if data.upper().startswith("LIST") or "%" in data:
        raise UserError(str(path), "keeps each slice in a file of its own", "save it as one .mha file")
    where = (path, start) if data.upper() == "LOCAL" else (_beside(path, data), 0)
    dtype = _META_TYPES[fields["ElementType"].upper().removeprefix("MET_").removesuffix("_ARRAY")]
    packing = "zlib" if fields.get("CompressedData", "").lower() == "true" else "raw"
    if fields.get("BinaryData", "true").lower() == "false":
        packing = "other"
    return Declared(tuple(shape), dtype, spacing, *where, packing)


def _nrrd(path: Path) -> Declared:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.readline(_LIMIT).startswith(b"NRRD"):
            raise UserError(str(path), "does not start with NRRD", "check that it is a NRRD file; " + _FIX)
        for line in iter(lambda: file.readline(_LIMIT).rstrip(b"\r\n"), b""):
            key, colon, value = line.decode("latin-1").partition(": ")
            if colon and not key.startswith("#"):
                fields[key.strip().lower().replace(" ", "")] = value.strip()
            if file.tell() > _LIMIT:
                break
        start = file.tell()
    dtype = next((name for name, words in _NRRD_TYPES.items() if fields["type"] in words.split("|")), None)
    if dtype is None:
        raise KeyError("type")
    shape = tuple(int(n) for n in fields["sizes"].split())
    data = fields.get("datafile")
    where = (path, start) if data is None else (_beside(path, data), 0)
    packing = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(fields["encoding"].lower(), "other")
    return Declared(shape, dtype, _nrrd_spacing(fields), *where, packing)


def _nrrd_spacing(fields: dict[str, str]) -> tuple[float, ...]:
    if "spacedirections" in fields:
        words = fields["spacedirections"].replace("none", "").replace("(", " ").replace(")", ";").split(";")
        vectors = [[float(n) for n in word.split(",")] for word in words if word.strip()]
        return tuple(math.sqrt(sum(n * n for n in vector)) for vector in vectors)
    return tuple(float(s) for s in fields.get("spacings", "1 1 1").split())


def _gipl(path: Path) -> Declared:
    zipped = path.name.lower().endswith(".gz")
    with gzip.open(path, "rb") if zipped else path.open("rb") as file:
        block = file.read(256)
    *shape, code = struct.unpack(">4HH", block[:10])
    spacing = struct.unpack(">3f", block[10:22])
    (magic,) = struct.unpack(">I", block[252:256])
    if magic not in (0xEFFFE9B0, 0x2AE389B8):
        raise UserError(str(path), "has no GIPL header", "check that it is a .gipl file; " + _FIX)
    if shape[3] <= 1:
        shape.pop()
    return Declared(
        tuple(shape), _GIPL_TYPES[code], spacing, path, *((0, "gzip", 256) if zipped else (256, "raw"))
    )


def _beside(path: Path, data: str) -> Path:
    """The data file of a detached header, which may not be in another folder."""
    if data.upper().startswith("LIST") or "%" in data:
        raise UserError(str(path), "keeps each slice in a file of its own", "save it as one .nrrd file")
    if Path(data).name != data:
        problem = f"names the data file {data!r} in another folder"
        raise UserError(str(path), problem, "put it beside the header and name it without a folder")
    if not path.with_name(data).is_file():
        raise UserError(str(path), f"its data file {data} is not there", "copy it beside the header")
    return path.with_name(data)


def refuse_broken_stream(path: Path, found: Declared) -> None:
    """Unpacks deflated voxels once, piecewise, to see that they are all there and their checksum holds.

    ITK reads truncated MetaImage and GIPL streams without an error, and leaves the rest as it was in memory.

    Raises:
        UserError: the stream ends early, or is corrupt.
    """
    announced = math.prod(found.shape) * np.dtype(found.dtype).itemsize
    if found.packing not in ("gzip", "zlib"):
        return
    try:
        with found.data.open("rb") as file:
            file.seek(found.start)
            count = _unpacked(file, announced + found.skip) - found.skip
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(str(path), f"cannot be read ({error})", _FIX) from None
    if count < announced:
        raise UserError(str(path), f"ends after {count:,} of {announced:,} bytes of voxels", _FIX)


def _unpacked(file: IO[bytes], enough: int) -> int:
    """Bytes in a zlib or gzip stream, up to a little more than ``enough``."""
    stream, count = zlib.decompressobj(47), 0  # 47: either container, checksum verified
    chunk = file.read(1 << 16)
    while chunk and count <= enough:
        count += len(stream.decompress(chunk, 1 << 20))
        chunk = stream.unconsumed_tail or file.read(1 << 16)
        if stream.eof:
            rest = stream.unused_data + chunk
            if not rest.startswith(b"\x1f\x8b"):
                break
            stream, chunk = zlib.decompressobj(47), rest  # gzip files may have several members
    if not stream.eof and count <= enough:
        raise EOFError("the compressed voxels end too early")
    return count
