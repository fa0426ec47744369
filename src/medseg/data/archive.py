"""Unpacking archives from strangers: everything is looked at before anything is written."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from medseg.errors import UserError

_CHUNK = 1 << 20
_METADATA = 16 << 20
_PADDING = 64 << 20
_FIX = "do not use this archive; fetch it again from the official source"
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
)


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to.

    Attributes:
        ratio: unpacked bytes per byte of archive; scans are compressed already, so theirs is about 1.
        floor: bytes that are always allowed.
        members: files and folders at most.
    """

    ratio: float = 100.0
    floor: int = 256 << 20
    members: int = 2_000_000


@dataclass(frozen=True)
class _Member:
    """One entry, whatever the format: its path, bytes, and how to read it (``None``: a folder)."""

    name: str
    size: int
    open: Callable[[], IO[bytes]] | None


def extract(archive: Path, target: Path, limits: Limits | None = None) -> None:
    """Unpacks a tar (plain, gz, bz2, xz) or zip file into the new folder ``target``.

    Only plain files and folders are accepted. Owners, permissions and times are not taken over; the
    litter of macOS (``__MACOSX``, ``._name``) is left out. ``target`` appears by one rename, when all
    is there.

    Raises:
        UserError: the archive is corrupt or of another type, or has absolute paths, ``..``, links, devices,
            the same path twice, or more bytes or members than ``limits`` and the disk allow.
    """
    limits = limits or Limits()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=target.parent))
    try:
        allowed = _allowed_bytes(archive, temporary, limits)
        with _corruption_named(archive):
            _inspect(archive, allowed, limits)
            with _members(archive) as members:
                for member in members:
                    _write(archive, member, temporary)
        temporary.chmod(0o755)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _corruption_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise UserError(
            str(archive), f"cannot be unpacked ({error})", "fetch it again; it is damaged"
        ) from None


def _allowed_bytes(archive: Path, folder: Path, limits: Limits) -> int:
    believable = max(limits.floor, int(limits.ratio * archive.stat().st_size))
    return min(believable, shutil.disk_usage(folder).free)


def _inspect(archive: Path, allowed: int, limits: Limits) -> None:
    """Reads every member's header; raises at the first that may not be unpacked."""
    seen: set[str] = set()
    total = 0
    with _members(archive) as members:
        for number, member in enumerate(members, start=1):
            path = _safe(archive, member.name)
            if number > limits.members:
                raise UserError(str(archive), f"has more than {limits.members:,} members", _FIX)
            if member.open is None:
                continue
            if path.as_posix() in seen:
                raise UserError(str(archive), f"holds {member.name!r} twice", _FIX)
            seen.add(path.as_posix())
            total += member.size
            if total > allowed:
                problem = (
                    f"unpacks to more than {allowed / 2**20:,.0f} MiB, which its size or the disk allows"
                )
                raise UserError(str(archive), problem, "free disk space, or " + _FIX)
    if not seen:
        raise UserError(str(archive), "holds no files", _FIX)


def _safe(archive: Path, name: str) -> PurePosixPath:
    """The member's relative path; raises where it could leave the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = len(path.parts) > 0 and ":" in path.parts[0]
    if path.is_absolute() or drive or ".." in path.parts or "\0" in name:
        raise UserError(str(archive), f"holds the unsafe path {name!r}", _FIX)
    return path


def _write(archive: Path, member: _Member, folder: Path) -> None:
    relative = _safe(archive, member.name)
    if "__MACOSX" in relative.parts or relative.name.startswith("._"):
        return
    path = folder / relative
    if member.open is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with member.open() as source, path.open("xb") as target:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:  # its header lied about the size
                raise UserError(str(archive), f"{member.name!r} is longer than it says", _FIX)
            target.write(chunk)
    if left:
        raise UserError(str(archive), f"ends inside {member.name!r}", "fetch it again; it is damaged")


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    with archive.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            with zipfile.ZipFile(file) as opened:
                yield _zip_members(archive, opened)
        else:
            sober: Any = _Sober(archive, _inflate(file, magic))
            with tarfile.open(fileobj=sober, mode="r:") as opened_tar:
                yield _tar_members(archive, opened_tar)
                _require_end(archive, sober, opened_tar.offset)


def _require_end(archive: Path, file: _Sober, offset: int) -> None:
    """A tar ends with an empty block, and what it is packed in with a checksum; tarfile asks for neither."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise UserError(str(archive), "is cut off", "fetch it again")
    for _ in range(_PADDING // _CHUNK):
        if not file.read(_CHUNK):
            return
    raise UserError(str(archive), f"goes on for more than {_PADDING >> 20} MiB after its end", _FIX)


def _inflate(file: IO[bytes], magic: bytes) -> IO[bytes]:
    kinds: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
    for start, opener in kinds.items():
        if magic.startswith(start):
            opened: IO[bytes] = opener(file, "rb")
            return opened
    return file


class _Sober:
    """A file that refuses to read much at once: tarfile reads a member's extended header in one gulp."""

    def __init__(self, archive: Path, file: IO[bytes]) -> None:
        self._archive, self._file = archive, file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _METADATA:
            raise UserError(str(self._archive), f"has a header of {size:,} bytes", _FIX)
        return self._file.read(size)


def _tar_members(archive: Path, opened: tarfile.TarFile) -> Iterator[_Member]:
    for entry in opened:
        if entry.issym() or entry.islnk():
            raise UserError(str(archive), f"holds the link {entry.name!r} -> {entry.linkname!r}", _FIX)
        if not (entry.isreg() or entry.isdir()):
            raise UserError(str(archive), f"holds the device or pipe {entry.name!r}", _FIX)
        yield _Member(entry.name, entry.size, None if entry.isdir() else _tar_opener(opened, entry))


def _tar_opener(opened: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opener() -> IO[bytes]:
        file = opened.extractfile(entry)
        if file is None:
            raise tarfile.ReadError(f"{entry.name!r} has no content")
        return file

    return opener


def _zip_members(archive: Path, opened: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in opened.infolist():
        mode = entry.external_attr >> 16
        if stat.S_ISLNK(mode):
            raise UserError(str(archive), f"holds the link {entry.filename!r}", _FIX)
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(str(archive), f"holds the device or pipe {entry.filename!r}", _FIX)
        if entry.flag_bits & 1:
            raise UserError(str(archive), "is encrypted", "unpack it by hand and give data.root=FOLDER")
        opener = None if entry.is_dir() else (lambda entry=entry: opened.open(entry))
        yield _Member(entry.filename, entry.file_size, opener)
