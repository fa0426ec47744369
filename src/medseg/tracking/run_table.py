"""Runs as rows of one table, whatever they are read from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "id", "study", "seed", "fold", "status", "network", "fusion", "objective", "loss", "steps",
    "train_minutes", "gpu_hours", "peak_memory_gb", "parameters",
)  # fmt: skip
"""The columns that are always there, in order; those of the scores follow."""

PARTS = ("network", "fusion", "objective", "loss")
COSTS = ("train_minutes", "gpu_hours", "peak_memory_gb", "parameters")
_ALWAYS = ("validation_dice", "validation_hd95", "test_dice", "test_hd95")
Row = dict[str, Any]


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows by study and id; a number that a run does not have is NaN, a text ``None``."""
    import pandas as pd

    found = sorted(rows, key=lambda row: (str(row["study"]), str(row["id"])))
    scores = list(dict.fromkeys([*_ALWAYS, *(key for row in found for key in row if key not in COLUMNS)]))
    frame = pd.DataFrame(found, columns=[*COLUMNS, *scores])
    numbers = ["seed", "fold", "steps", "parameters"]
    frame[numbers] = frame[numbers].astype("Int64")
    costs = [name for name in COSTS if name != "parameters"]
    frame[[*costs, *scores]] = frame[[*costs, *scores]].astype("float64")
    return frame


def row_of(config: Mapping[str, Any], record: Mapping[str, Any], scores: Mapping[str, float]) -> Row:
    """A row from the configuration of a run, its record and its scores (``validation_dice`` and so on)."""
    row: Row = {name: record.get(name) for name in COLUMNS}
    row |= {slot: part_name(config.get(slot)) for slot in PARTS}
    for name in ("seed", "fold"):
        row[name] = config.get(name, record.get(name))
    return row | {name: float(value) for name, value in scores.items() if not math.isnan(value)}


def part_name(spec: object) -> str | None:
    """The class of a part, with the encoder where it has one."""
    if not isinstance(spec, Mapping) or "_target_" not in spec:
        return None
    name = str(spec["_target_"]).rpartition(".")[2]
    return f"{name} {spec['encoder_name']}" if spec.get("encoder_name") else name


def from_folders(folders: Sequence[Path], study: str | None) -> Iterator[Row]:
    """A row for each run in or below the folders.

    Raises:
        UserError: a folder is not there, or a record cannot be read.
    """
    seen: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise UserError(str(folder), "is not there", "give runs, runs/NAME or runs/NAME/ID")
        for level in (".", "*", "*/*"):
            for file in sorted(folder.glob(f"{level}/record.json")):
                run = file.parent
                if run.resolve() not in seen and (run / "config.yaml").is_file():
                    seen.add(run.resolve())
                    row = row_of_folder(run)
                    if study in (None, row["study"]):
                        yield row


def row_of_folder(run: Path) -> Row:
    """The row of a run's folder.

    Raises:
        UserError: its record or its configuration cannot be read.
    """
    import yaml

    try:
        record = json.loads((run / "record.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError(str(run), f"cannot be read ({told})", "restore the file") from None
    return row_of(config, facts(record), scores(record.get("results") or {}))


def facts(record: Mapping[str, Any]) -> Row:
    """What a record says of its run, by the names of the columns."""
    costs = record.get("costs") or {}
    found = {name: record.get(name) for name in ("id", "seed", "fold", "status", "steps")}
    found |= {"study": record.get("name"), "train_minutes": record.get("minutes")}
    return found | {name: costs[name] for name in COSTS if name in costs}


def scores(results: Mapping[str, Any]) -> dict[str, float]:
    """``PART_METRIC`` -> the mean over labels and cases."""
    return {
        f"{part}_{metric}": float(statistics["mean"])
        for part, summary in results.items()
        for metric, statistics in summary["overall"].items()
        if statistics["mean"] is not None
    }
