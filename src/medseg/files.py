"""Files that are either whole or not there, and the hashes that prove it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"
"""What the names of unfinished files and folders begin with."""


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``target``; on success it is synced and renamed onto it.

    A kill at any moment leaves the old file or the new one, never a part of it. On an
    exception the temporary file is removed and ``target`` is left as it was.
    """
    with scratch_file(target.parent, "-" + target.name) as temporary:
        yield temporary
        publish(temporary, target)


@contextlib.contextmanager
def scratch_file(folder: Path, suffix: str) -> Iterator[Path]:
    """An empty temporary file in ``folder``, removed in the end; a killed process leaves it to `sweep`.

    Writers choose a format by the ``suffix`` of its name.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def make() -> Path:
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=suffix, dir=folder)
        os.close(handle)
        return Path(name)

    with _held(make) as temporary:
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """An empty temporary folder beside ``target``; as `scratch_file`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with _held(lambda: Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{target.name}-", dir=target.parent))) as it:
        try:
            yield it
        finally:
            shutil.rmtree(it, ignore_errors=True)


@contextlib.contextmanager
def _held(make: Callable[[], Path]) -> Iterator[Path]:
    """What ``make`` makes, kept from `sweep` by a lock that goes with the process."""
    while True:
        path = make()
        with contextlib.suppress(FileNotFoundError):  # swept before it was held: once more
            descriptor = os.open(path, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks is not swept either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                break
            os.close(descriptor)
    try:
        yield path
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Removes the temporary files and folders that killed processes left; those of living ones stay."""
    for path in folder.glob(TEMPORARY + "*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            finally:
                os.close(descriptor)


def publish(temporary: Path, target: Path) -> None:
    """Syncs a finished temporary file and renames it onto ``target`` in the same folder."""
    sync(temporary)
    temporary.chmod(0o666 & ~_umask())
    temporary.replace(target)
    sync(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Makes a file's bytes, or the renames inside a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(target: Path, text: str) -> None:
    """Writes ``text`` (UTF-8) atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Writes ``value`` as readable JSON, atomically; NaN is refused."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def value_hash(value: Any) -> str:
    """The SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
