"""What the files of a case contain, as SHA-256; files that have not changed are not read again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from medseg.errors import UserError
from medseg.files import file_hash, value_hash, write_json

SETTLED_NS = 2_000_000_000
"""A file changed less than 2 s ago may change again within the clock's grain: its hash is not remembered."""
DETACHED = (".mhd", ".nhdr")
HEADER_BYTES = 1 << 16

Stamp = tuple[int, int]


class SourceHashes:
    """Hashes of files and DICOM folders, remembered by path, size and time in a JSON file.

    Args:
        memory: where they are remembered; a broken one is ignored.
    """

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        try:
            known = json.loads(memory.read_text(encoding="utf-8"))
            self.known = {path: (int(size), int(when), str(sha)) for path, (size, when, sha) in known.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.known = {}
        self._before = dict(self.known)

    def learn(self, paths: Iterable[Path], threads: int) -> None:
        """Makes `of` quick for ``paths``: reads those that are new or changed, in threads.

        Raises:
            UserError: a file is not there or cannot be read.
        """
        from concurrent.futures import ThreadPoolExecutor

        files = sorted({file for path in set(paths) for file in _parts(path)})
        with ThreadPoolExecutor(max(1, threads)) as pool:
            for file, entry in zip(files, pool.map(self._entry, files), strict=True):
                self.known[str(file)] = entry

    def of(self, path: Path) -> str:
        """The hash of a file, of a header with its data, or of a folder's files."""
        parts = _parts(path)
        hashes = [self._entry(file)[2] for file in parts]
        return hashes[0] if len(parts) == 1 else value_hash(sorted(hashes))

    def stamps(self, paths: Iterable[Path]) -> dict[str, Stamp]:
        """Size and time of the files behind ``paths`` when they were hashed, see `refuse_change`."""
        files = {str(file) for path in paths for file in _parts(path)}
        return {file: self.known[file][:2] for file in files if file in self.known}

    def _entry(self, file: Path) -> tuple[int, int, str]:
        try:
            size, when = _stamp(file)
            known = self.known.get(str(file))
            return known if known and known[:2] == (size, when) else (size, when, file_hash(file))
        except OSError as error:
            raise UserError(str(file), f"cannot be read ({error.strerror})", "restore the file") from None

    def save(self) -> None:
        """Remembers what was learnt, for files that have settled."""
        now = time.time_ns()
        settled = {path: entry for path, entry in self.known.items() if now - entry[1] > SETTLED_NS}
        if settled != self._before:
            write_json(self.memory, settled)


def refuse_change(stamps: Mapping[str, Stamp]) -> None:
    """Raises `UserError` where a file is no longer what was hashed."""
    for name, stamp in stamps.items():
        if not Path(name).is_file() or _stamp(Path(name)) != stamp:
            raise UserError(name, "changed while it was read", "start again when nothing writes to it")


def _stamp(file: Path) -> Stamp:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns


def _parts(path: Path) -> list[Path]:
    """The files behind a path: a folder's, or a header and the data file that it names."""
    path = path.absolute()
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.suffix.lower() not in DETACHED:
        return [path]
    try:
        with path.open("rb") as source:
            header = source.read(HEADER_BYTES).decode("latin-1")
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "restore the file") from None
    for line in header.splitlines():
        key, _, value = line.replace("=", ":", 1).partition(":")
        if key.strip().lower() in ("elementdatafile", "data file", "datafile"):
            data = path.parent / value.strip()
            return [path, data] if data.is_file() else [path]
    return [path]
