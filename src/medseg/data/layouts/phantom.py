"""The synthetic cohort: a table with a mark beside it; made on first use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg.data.cohort import Cohort
from medseg.data.layouts import table
from medseg.data.phantom import LABELS, MARK, MODALITIES, PhantomSettings, ensure_phantom
from medseg.data.settings import DataSettings

PRIORITY = 5


def recognises(root: Path) -> bool:
    """A folder that was generated before."""
    return (root / MARK).is_file()


def read(root: Path, settings: DataSettings) -> Cohort:
    """The cohort in ``root``, or the one that the settings ask for, made under ``root`` if need be."""
    folder = root if recognises(root) else ensure_phantom(PhantomSettings.parse(settings.phantom or {}), root)
    labels = settings.labels or (None if settings.regions else dict(LABELS))
    modalities = settings.modalities or list(MODALITIES)
    name = "phantom" if settings.name == DataSettings.name else settings.name
    told = replace(settings, name=name, labels=labels, modalities=modalities, table="cases.csv")
    return table.read(folder, told)
