"""The synthetic cohort: what may be asked of it, and writing it as a table of NIfTI files."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import Problems
from medseg.files import sync, value_hash, write_json

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
"""Part of the cache's key: raise it when the same settings give other voxels."""

MARK = "phantom.json"
MODALITIES = ("t1", "flair")
LABELS = {"gland": 1, "lesion": 2, "node": 3}
_SMALLEST = 16


@dataclass(frozen=True)
class PhantomSettings:
    """The synthetic cohort: a body with a gland (seen in t1), a lesion (in flair), a node (in both).

    Attributes:
        cases: examinations in all.
        seed: the same seed gives the same bytes.
        shape: voxels ``(W, H, D)`` about which each case's shape varies by up to 7 %.
        centres: scanners, with intensities, noise and bias fields of their own; 1 to 3.
        repeats: patients who have two cases.
        unlabelled: cases without a label file.
        empty: cases whose label is empty.
        missing: cases that lack a modality, t1 and flair in turn.
    """

    cases: int = 60
    seed: int = 0
    shape: tuple[int, int, int] = (56, 56, 28)
    centres: int = 3
    repeats: int = 6
    unlabelled: int = 8
    empty: int = 4
    missing: int = 3

    def problems(self) -> list[str]:
        """One line per field that cannot be used."""
        found = []
        if self.cases < 1:
            found.append(f"cases: {self.cases} is no cohort; use 1 or more")
        if self.seed < 0:
            found.append(f"seed: {self.seed} is negative; use 0 or more")
        if len(self.shape) != 3 or min(self.shape, default=0) < _SMALLEST:
            found.append(f"shape: {list(self.shape)} must be 3 numbers of at least {_SMALLEST} voxels")
        if not 1 <= self.centres <= 3:
            found.append(f"centres: {self.centres} is not possible; use 1, 2 or 3")
        for name in ("repeats", "unlabelled", "empty", "missing"):
            if getattr(self, name) < 0:
                found.append(f"{name}: {getattr(self, name)} is negative; use 0 or more")
        if 2 * self.repeats > self.cases:
            found.append(f"repeats: {self.repeats} patients with two cases need more than {self.cases} cases")
        if self.unlabelled + self.empty + self.missing > self.cases:
            found.append(f"unlabelled, empty and missing are more than the {self.cases} cases; lower one")
        return found

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> PhantomSettings:
        """Settings from a mapping; every unknown key, wrong type and impossible value is named.

        Raises:
            Problems: one line each.
        """
        known = [field.name for field in fields(cls)]
        problems = [
            f"data.phantom.{key}: is not known; use one of {', '.join(known)}"
            for key in values
            if key not in known
        ]
        for name in known:
            value = values.get(name, getattr(cls, name))
            numbers = value if name == "shape" and isinstance(value, list | tuple) else [value]
            if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
                problems.append(
                    f"data.phantom.{name}: {value!r} is not a whole number (shape: three of them)"
                )
        if problems:
            raise Problems(problems)
        settings = cls(**{**values, "shape": tuple(values.get("shape", cls.shape))})
        if problems := settings.problems():
            raise Problems(f"data.phantom.{line}" for line in problems)
        return settings

    @property
    def key(self) -> str:
        """Names the folder: other settings, other folder."""
        return value_hash({"version": VERSION, **asdict(self)})[:12]


@dataclass(frozen=True)
class _Row:
    """What one case is to be."""

    number: int
    patient: int
    centre: int
    modalities: tuple[str, ...]
    labelled: bool
    empty: bool

    @property
    def id(self) -> str:
        return f"phantom_{self.number:03d}"


def ensure_phantom(settings: PhantomSettings, cache: Path) -> Path:
    """The cohort's folder under ``cache``; generated where it is not there yet.

    It appears by one rename, so a kill leaves nothing half made, and of two processes one wins.
    """
    folder = cache / settings.key
    if (folder / MARK).is_file():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{settings.key}-", dir=cache))
    try:
        write_phantom(settings, temporary)
        temporary.chmod(0o755)
        _publish(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _publish(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not (folder / MARK).is_file():
            raise
    sync(folder.parent)


def write_phantom(settings: PhantomSettings, folder: Path) -> None:
    """Writes ``cases.csv``, ``images/``, ``labels/`` and, last, ``phantom.json`` into ``folder``."""
    from medseg.data.parallel import for_each

    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = _rows(settings)
    records = for_each(partial(_write_case, settings, folder), rows, 1, "phantom")
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(
            target, ["id", "patient", "centre", *MODALITIES, "label"], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(records)
    os.sync()
    write_json(folder / MARK, {"version": VERSION, "labels": LABELS, "settings": asdict(settings)})


def _generator(*key: int) -> np.random.Generator:
    import numpy as np

    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _rows(settings: PhantomSettings) -> list[_Row]:
    """Deals out patients, centres and what each case lacks."""
    order = _generator(settings.seed, 0).permutation(settings.cases).tolist()
    empty, missing = order[: settings.empty], order[settings.empty : settings.empty + settings.missing]
    hidden = order[settings.empty + settings.missing :][: settings.unlabelled]
    rows = []
    for number in range(settings.cases):
        paired = number < 2 * settings.repeats
        patient = number // 2 if paired else number - settings.repeats
        lacks = MODALITIES[(missing.index(number) + 1) % 2] if number in missing else None
        rows.append(
            _Row(
                number=number,
                patient=patient,
                centre=patient % settings.centres,
                modalities=tuple(name for name in MODALITIES if name != lacks),
                labelled=number not in hidden,
                empty=number in empty,
            )
        )
    return rows


def _write_case(settings: PhantomSettings, folder: Path, row: _Row) -> dict[str, str]:
    """Generates and saves one case; returns its row of the table."""
    from medseg.data.phantom_anatomy import SCANNERS, make_scan

    anatomy = _generator(settings.seed, 1, row.patient)
    machine = _generator(settings.seed, 2, row.number)
    scan = make_scan(anatomy, machine, settings.shape, SCANNERS[row.centre], row.empty)
    record = {"id": row.id, "patient": f"P{row.patient:03d}", "centre": "ABC"[row.centre]}
    for name in row.modalities:
        record[name] = f"images/{row.id}_{name}.nii.gz"
        _save(scan.contrasts[name], scan.affine, folder / record[name])
    if row.labelled:
        record["label"] = f"labels/{row.id}.nii.gz"
        _save(scan.label, scan.affine, folder / record["label"])
    return record


def _save(array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any], target: Path) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    nib.save(image, target)
