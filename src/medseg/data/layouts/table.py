"""A CSV or Parquet table with a row per case, and paths relative to it.

Columns: ``id``; optionally ``patient``, ``centre``, ``fold`` (a number, or ``test``), ``label``, and
``rater_NAME`` or ``label_NAME`` per expert; every other column whose entries are files of a known type is a
modality.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.data.assemble import assemble
from medseg.data.cohort import Case, Cohort
from medseg.data.formats import suffix
from medseg.data.settings import DataSettings
from medseg.errors import Problems, UserError

PRIORITY = 30
SUFFIXES = (".csv", ".tsv", ".parquet")
_OWN = ("id", "patient", "centre", "center", "fold", "label")
_RATER = ("rater_", "label_")
_FOLD = re.compile(r"[0-9]+|-1|test", re.IGNORECASE)
Row = dict[str, str]


def recognises(root: Path) -> bool:
    """A ``cases.csv``, ``cases.tsv`` or ``cases.parquet``."""
    return any((root / f"cases{ending}").is_file() for ending in SUFFIXES)


def read(root: Path, settings: DataSettings) -> Cohort:
    """A case per row; empty cells are missing modalities, labels and opinions."""
    path = _table(root, settings)
    rows = _rows(path)
    if not rows:
        raise UserError(str(path), "the table has no rows", "list a case per row")
    columns = list(rows[0])
    if "id" not in columns:
        raise UserError(
            str(path), f"has no column id (it has {', '.join(columns)})", "name the cases' column id"
        )
    raters = {name: _rater(name) for name in columns if name.startswith(_RATER)}
    modalities = _modalities(path, rows, settings, raters)
    problems = [line for k, row in enumerate(rows, start=2) for line in _problems(path, k, row, settings)]
    if problems:
        raise Problems(problems)
    cases = [_case(path.parent, row, modalities, raters) for row in rows]
    return assemble(root, settings, cases, modalities, None, name=root.name)


def _table(root: Path, settings: DataSettings) -> Path:
    names = [settings.table] if settings.table else [f"cases{ending}" for ending in SUFFIXES]
    for name in names:
        if (root / name).is_file():
            return root / name
    raise UserError(str(root), f"has no table {' or '.join(names)}", "name it by data.table")


def _rows(path: Path) -> list[Row]:
    """The table as text; cells are stripped, empty where nothing is."""
    if path.suffix.lower() == ".parquet":
        import pandas as pd

        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
            raise UserError(str(path), f"is not readable Parquet ({error})", "write it again") from None
        records: list[dict[Any, Any]] = frame.astype(object).where(frame.notna(), "").to_dict("records")
        return [{str(key).strip(): _text(value) for key, value in record.items()} for record in records]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"is not readable text ({error})", "save it as UTF-8") from None
    first = text.split("\n", 1)[0]
    comma = max(",;\t", key=first.count)  # Excel writes semicolons in half of Europe
    found = csv.DictReader(text.splitlines(), delimiter=comma, restkey="", restval="")
    return [{str(k).strip(): str(v).strip() for k, v in row.items() if k} for row in found]


def _text(value: Any) -> str:
    """A cell as text; a whole number without the point that a gap in its column gave it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _rater(column: str) -> str:
    return next(column.removeprefix(prefix) for prefix in _RATER if column.startswith(prefix))


def _modalities(path: Path, rows: Sequence[Row], settings: DataSettings, raters: dict[str, str]) -> list[str]:
    free = [name for name in rows[0] if name not in _OWN and name not in raters]
    modalities = [name for name in free if _holds_scans(path, [row[name] for row in rows if row[name]])]
    modalities += [name for name in settings.modalities or () if name in free and name not in modalities]
    if not modalities:
        tried = ", ".join(free) or "none"
        raise UserError(
            str(path), f"no column holds scans (columns that may: {tried})", "add one per modality"
        )
    return [name for name in free if name in modalities]


def _holds_scans(table: Path, cells: Sequence[str]) -> bool:
    return bool(cells) and all(suffix(Path(cell)) or (table.parent / cell).is_dir() for cell in cells)


def _problems(path: Path, line: int, row: Row, settings: DataSettings) -> Iterator[str]:
    if not row["id"]:
        yield f"{path}: line {line} has no id; give each case one"
    if row.get("patient") == "" and settings.patient_pattern is None:
        # A patient of its own would be a guess, and a wrong one leaks.
        yield f"{path}: line {line}: patient is blank; say whose it is, or set data.patient_pattern"
    fold = row.get("fold", "")
    if fold and not _FOLD.fullmatch(fold):
        yield f"{path}: line {line}: fold {fold!r} is not a number; use 0, 1, ... or test"


def _case(folder: Path, row: Row, modalities: Sequence[str], raters: Mapping[str, str]) -> Case:
    return Case(
        id=row["id"],
        patient=row.get("patient", ""),
        images={name: folder / row[name] for name in modalities if row[name]},
        label=folder / row["label"] if row.get("label") else None,
        centre=row.get("centre") or row.get("center") or None,
        fold=_fold(row.get("fold", "")),
        raters={rater: folder / row[column] for column, rater in raters.items() if row[column]},
    )


def _fold(cell: str) -> int | None:
    """A fold's number, below zero for the test."""
    if not cell:
        return None
    return -1 if cell.lower() == "test" else int(cell)
