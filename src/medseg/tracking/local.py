"""The run's own ``metrics.csv``: one row per number, readable while the run goes on."""

from __future__ import annotations

import csv
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from medseg.files import atomic_path

COLUMNS = ("step", "epoch", "minutes", "name", "value")


class LocalLogger(Logger):
    """Appends to ``metrics.csv`` with the columns step, epoch, minutes, name, value.

    ``step`` is the number of optimizer steps taken (Lightning counts from 0, so one more than its own);
    ``minutes`` is the time spent training so far, over all restarts. Rows beyond the step that a
    resumed run starts from are dropped by `rewind`, so that no step is told twice.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._earlier = 0.0
        self._start = time.monotonic()

    @property
    def name(self) -> str:
        """Lightning asks for it; the folder says it already."""
        return ""

    @property
    def version(self) -> str:
        """Lightning asks for it; the folder says it already."""
        return ""

    @property
    def minutes(self) -> float:
        """Minutes of training so far, over all restarts."""
        return self._earlier + (time.monotonic() - self._start) / 60

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The configuration has a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Appends one row per number; ``epoch`` is Lightning's own entry among the metrics."""
        epoch = int(metrics.get("epoch", 0))
        fresh = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as target:
            writer = csv.writer(target)
            if fresh:
                writer.writerow(COLUMNS)
            for name, value in sorted(metrics.items()):
                if name != "epoch":
                    writer.writerow(((step or 0) + 1, epoch, f"{self.minutes:.3f}", name, repr(float(value))))

    @rank_zero_only
    def complete(self, metrics: Mapping[str, float], step: int) -> None:
        """Writes those of ``metrics`` that are not in the file at this step."""
        there = {row["name"] for row in read_metrics(self.path) if row["step"] == step + 1}
        missing = {name: value for name, value in metrics.items() if name not in there}
        if missing.keys() - {"epoch"}:
            self.log_metrics(missing, step)

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drops the rows beyond ``step`` and goes on counting minutes from the last that is kept."""
        kept = [row for row in read_metrics(self.path) if row["step"] <= step]
        self._earlier = max((row["minutes"] for row in kept), default=0.0)
        self._start = time.monotonic()
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as target:
            writer = csv.writer(target)
            writer.writerow(COLUMNS)
            writer.writerows(
                (row["step"], row["epoch"], f"{row['minutes']:.3f}", row["name"], repr(row["value"]))
                for row in kept
            )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``metrics.csv``; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    with path.open(newline="", encoding="utf-8") as source:
        for raw in csv.DictReader(source):
            try:
                rows.append(
                    {
                        "step": int(raw["step"]),
                        "epoch": int(raw["epoch"]),
                        "minutes": float(raw["minutes"]),
                        "name": raw["name"],
                        "value": float(raw["value"]),
                    }
                )
            except (TypeError, ValueError):
                continue
    return rows
