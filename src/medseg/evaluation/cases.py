"""The rows of ``cases.csv``: one value of one metric for one label of one case."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import UserError
from medseg.evaluation.metric import Status
from medseg.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One value.

    Attributes:
        case: the case id.
        patient: the patient's id; several cases may share it.
        centre: where it comes from, or empty.
        part: ``validation``, ``test`` or another name of the set of cases.
        label: a class or a region.
        metric: a name from `METRICS`.
        value: in ``unit``; not a number where ``status`` is ``nan``.
        unit: ``1``, ``mm``, ``ml`` or ``lesions``.
        status: ``ok``, ``nan`` (not averaged) or ``missed`` (exactly one of the masks is empty).
    """

    case: str
    patient: str
    centre: str
    part: str
    label: str
    metric: str
    value: float
    unit: str
    status: Status


COLUMNS = tuple(field.name for field in fields(Row))
"""The columns of ``cases.csv``, in order."""


def write_cases(path: Path, rows: Iterable[Row]) -> None:
    """Writes ``cases.csv`` atomically; values keep all their digits."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(row), "value": repr(float(row.value))} for row in rows)


def read_cases(path: Path) -> list[Row]:
    """Reads ``cases.csv``.

    Raises:
        UserError: the file is not there, lacks a column, or has a line that says nothing sensible.
    """
    try:
        source = path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "run `medseg evaluate`") from error
    with source:
        reader = csv.DictReader(source)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(str(path), f"lacks the column {', '.join(missing)}", "write it anew")
        return [_row(record, f"{path}, line {reader.line_num}") for record in reader]


def _row(record: dict[str, str], where: str) -> Row:
    try:
        value = float(record["value"])
    except (TypeError, ValueError) as error:
        raise UserError(where, f"value is {record['value']!r}, not a number", "write it anew") from error
    status = record["status"]
    if status not in ("ok", "nan", "missed") or math.isnan(value) != (status == "nan"):
        raise UserError(where, f"status {status!r} does not fit the value {value}", "write it anew")
    texts = {name: record[name] or "" for name in COLUMNS if name not in ("value", "status")}
    return Row(value=value, status=status, **texts)  # type: ignore[arg-type]


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a pandas data frame with the columns of ``cases.csv``."""
    import pandas as pd

    return pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
