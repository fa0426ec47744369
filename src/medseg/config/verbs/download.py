"""``medseg download``: a public data set, ready for ``data.root``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from medseg.data.download import download as fetch_and_unpack
from medseg.data.settings import DataSettings
from medseg.errors import UserError


def download(into: str, data: DataSettings) -> None:
    """Fetches the preset's data set into the folder ``into``, and says how to use and cite it."""
    if data.phantom is not None:
        raise UserError("data", f"{data.name} is made here, not fetched", f"use it with data={data.name}")
    root = fetch_and_unpack(data, Path(into))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for word in ("licence", "cite"):
        if said := (data.source or {}).get(word):
            console.print(f"{word}: {said}")
    console.print(f"ready in {root}; use it with data={data.name} data.root={root}")
