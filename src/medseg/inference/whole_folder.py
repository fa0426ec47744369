"""Folders that are either whole or not there."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from medseg.files import scratch_folder, sync


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside ``folder``; on success it is synced and renamed onto it.

    A folder that is there is replaced. A kill at any moment leaves no mix of the two.
    """
    with scratch_folder(folder) as scratch:
        yield scratch
        _publish(scratch, folder)


def _publish(scratch: Path, folder: Path) -> None:
    for file in scratch.iterdir():
        sync(file)
    sync(scratch)
    scratch.chmod(0o755)
    if folder.exists():
        # A folder cannot be renamed onto a full one, so the old one steps aside first.
        aside = Path(tempfile.mkdtemp(prefix=f".old-{folder.name}-", dir=folder.parent))
        folder.replace(aside)
        scratch.replace(folder)
        shutil.rmtree(aside)
    else:
        scratch.replace(folder)
    sync(folder.parent)
