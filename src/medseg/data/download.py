"""``medseg download``: a public data set from its official source, checked and unpacked."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medseg.data.archive import Limits, extract
from medseg.data.fetch import Patience, Progress, fetch
from medseg.data.settings import DataSettings
from medseg.data.source_settings import SourceSettings
from medseg.errors import UserError
from medseg.files import write_json


def download(
    settings: DataSettings, into: Path, *, patience: Patience | None = None, limits: Limits | None = None
) -> Path:
    """Fetches, checks and unpacks the set of a preset; a set that is there already is left alone.

    An archive that was put into ``into`` by hand is used instead of the network. Beside the data
    ``NAME.source.json`` keeps the address, hashes, licence and citation.

    Args:
        settings: of a preset; its ``source`` says what to fetch.
        into: the folder in which ``into / settings.name`` will be.
        patience: with a failing connection.
        limits: of unpacking.

    Returns:
        The folder for ``data.root``.

    Raises:
        UserError: the set has no address (the message says how to get it by hand), no checksum is known, the
            network is away, the checksum differs, or the archive is unsafe.
    """
    source = SourceSettings.parse(settings.source or {})
    root = into / settings.name
    if root.is_dir() and any(root.iterdir()):
        return root
    if source.url is None:
        raise UserError(settings.name, "is not downloaded automatically", by_hand(settings.name, source))
    receipt = into / f"{settings.name}.source.json"
    pinned = _pinned(receipt)
    _refuse_unchecked(source, pinned)
    archive = into / source.archive_name
    if not archive.is_file():
        _fetch(settings.name, source, archive, patience)
    hashes = _check(source, archive, pinned)
    _unpack(source, archive, root, limits)
    write_json(receipt, {**asdict(source), **hashes, "size": archive.stat().st_size})
    archive.unlink()
    return root


def by_hand(name: str, source: SourceSettings) -> str:
    """What to fetch where, and what to do with it, on one line."""
    told = source.instructions or "fetch it from its page and unpack it"
    page = f" (page: {source.page})" if source.page else ""
    return f"{' '.join(told.split()).rstrip('.')}{page}; then use data={name} data.root=FOLDER"


def _refuse_unchecked(source: SourceSettings, pinned: str | None) -> None:
    if not (source.checkable or pinned or source.trust):
        raise UserError(
            str(source.url),
            "no checksum is publicly known, so what arrives cannot be verified",
            "give data.source.sha256=..., or data.source.trust=true to accept it and write its hash down",
        )


def _pinned(receipt: Path) -> str | None:
    """The hash that an earlier download wrote down."""
    with suppress(OSError, ValueError):
        found = json.loads(receipt.read_text(encoding="utf-8"))
        if isinstance(found, dict) and isinstance(found.get("sha256"), str):
            return str(found["sha256"])
    return None


def _fetch(name: str, source: SourceSettings, archive: Path, patience: Patience | None) -> None:
    url = str(source.url)
    try:
        with _progress_bar(archive.name) as progress:
            fetch(url, archive, size=source.size, progress=progress, patience=patience)
    except UserError as error:
        where = f"or fetch {url} on another machine and put the file at {archive}"
        fix = f"{error.fix}; {where}; or by hand: {by_hand(name, source)}"
        raise UserError(error.where, error.problem, fix) from None


def _check(source: SourceSettings, archive: Path, pinned: str | None) -> dict[str, str]:
    """The archive's hashes, once they are what they must be; a wrong archive is removed."""
    hashes = _hashes(archive)
    wanted = {
        "sha256": source.sha256 or (None if source.md5 else pinned),
        "md5": source.md5,
    }
    for kind, value in wanted.items():
        if value is not None and value.lower() != hashes[kind]:
            archive.unlink()
            problem = f"its {kind} is {hashes[kind]} where {value} is expected; the file was removed"
            raise UserError(str(archive), problem, "try again; if it stays so, the source has changed")
    size = archive.stat().st_size
    if source.size is not None and size != source.size:
        archive.unlink()
        problem = f"has {size:,} bytes where {source.size:,} are expected; the file was removed"
        raise UserError(str(archive), problem, "try again")
    return hashes


def _hashes(path: Path) -> dict[str, str]:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return {"sha256": sha256.hexdigest(), "md5": md5.hexdigest()}


def _unpack(source: SourceSettings, archive: Path, root: Path, limits: Limits | None) -> None:
    """Unpacks beside ``root`` and renames the folder that is the data set onto it."""
    whole = root.with_name(f".unpacked-{root.name}")
    shutil.rmtree(whole, ignore_errors=True)
    try:
        extract(archive, whole, limits)
        inner = whole / source.folder if source.folder else _only_folder(whole)
        if not inner.is_dir():
            there = ", ".join(sorted(path.name for path in whole.iterdir())[:5])
            raise UserError(
                str(archive), f"has no folder {source.folder!r} (it has {there})", "the set has changed"
            )
        if root.is_dir():
            root.rmdir()  # an empty one: `download` has looked
        inner.rename(root)
    finally:
        shutil.rmtree(whole, ignore_errors=True)


def _only_folder(whole: Path) -> Path:
    inside = list(whole.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else whole


@contextmanager
def _progress_bar(title: str) -> Iterator[Progress]:
    """A bar on the terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns: tuple[Any, ...] = (
        TextColumn(title),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
