"""Opening a cohort: where its folder is, and which layout the folder has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg.data.cohort import Cohort
from medseg.data.layouts import layouts
from medseg.data.layouts.table import SUFFIXES as TABLES
from medseg.data.settings import DataSettings
from medseg.errors import Problems, UserError


def open_cohort(settings: DataSettings) -> Cohort:
    """The cohort that the settings describe; reads headers and tables, not voxels.

    (Where nobody has declared labels, the label files are read once to see their values.)

    Raises:
        UserError: no folder, a folder of no known layout (what was tried is listed), or settings
            that do not fit.
    """
    if problems := settings.problems():
        raise Problems(f"data.{line}" for line in problems)
    settings, root = _locate(settings)
    if settings.layout != "auto":
        return _read(settings.layout, root, settings)
    for name, layout in layouts().items():
        if layout.recognises(root):
            return _read(name, root, settings)
    tried = ", ".join(layouts())
    raise UserError(
        str(root),
        f"no known layout (tried {tried})",
        "name the files: data.patterns.NAME=GLOB data.label_pattern=GLOB, or list them in cases.csv; "
        "see docs/data-formats.md",
    )


def _read(layout: str, root: Path, settings: DataSettings) -> Cohort:
    cohort: Cohort = layouts()[layout].read(root, settings)
    return cohort


def _locate(settings: DataSettings) -> tuple[DataSettings, Path]:
    """The folder, and the layout where the settings alone decide it."""
    if settings.root is None:
        return _without_root(settings)
    root = Path(settings.root).expanduser()
    if root.is_file() and root.suffix.lower() in TABLES:
        return replace(settings, layout="table", table=root.name), root.parent
    if not root.is_dir():
        raise UserError("data.root", f"there is no folder {root}", "give the folder of your scans")
    if settings.layout == "auto" and settings.table:
        settings = replace(settings, layout="table")
    elif settings.layout == "auto" and settings.patterns:
        settings = replace(settings, layout="pattern")
    return settings, root


def _without_root(settings: DataSettings) -> tuple[DataSettings, Path]:
    """The synthetic cohort, which makes its own folder; anything else needs to be told where it is."""
    if settings.phantom is not None or settings.layout == "phantom":
        return replace(settings, layout="phantom"), settings.cache_folder / "phantom"
    fix = "give the folder of your scans: data.root=FOLDER"
    if settings.source:
        fix = str(settings.source.get("instructions") or settings.source.get("url") or "") or fix
    raise UserError("data.root", f"is not given, and {settings.name} is not made here", fix)
