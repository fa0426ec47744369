"""``CASE_reliability.csv`` beside a prediction: what of its probabilities a reliability diagram needs."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from medseg.errors import UserError
from medseg.evaluation.calibration import Reliability
from medseg.files import atomic_path

SUFFIX = "_reliability.csv"
COLUMNS = ("label", "bin", "low", "high", "n", "confidence", "positives", "squares")
"""The last three are sums over the bin's voxels; ``squares`` are those of the label, in its first bin."""


def write_reliability(path: Path, names: Sequence[str], found: Sequence[Reliability | None]) -> None:
    """Writes the bins of every label that the reference has."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, one in zip(names, found, strict=True):
            if one is not None:
                bins = len(one.counts)
                for k in range(bins):
                    sums = (int(one.counts[k]), float(one.confidence[k]), int(one.positives[k]))
                    writer.writerow((name, k, k / bins, (k + 1) / bins, *sums, one.squares if not k else 0.0))


def read_reliability(folder: Path, cases: Collection[str]) -> dict[str, Reliability]:
    """Per label the sums over all cases that have such a file.

    Raises:
        UserError: a file says nothing sensible, or has other bins than those before it.
    """
    total: dict[str, Reliability] = {}
    for case in cases:
        path = folder / (case + SUFFIX)
        for label, one in (_read(path) if path.is_file() else {}).items():
            before = total.get(label)
            if before is not None and len(before.counts) != len(one.counts):
                problem = f"has {len(one.counts)} bins, others {len(before.counts)}"
                raise UserError(str(path), problem, "evaluate all cases with the same calibration_bins")
            total[label] = one if before is None else _sum(before, one)
    return total


def _sum(a: Reliability, b: Reliability) -> Reliability:
    return Reliability(
        a.counts + b.counts, a.confidence + b.confidence, a.positives + b.positives, a.squares + b.squares
    )


def _read(path: Path) -> dict[str, Reliability]:
    rows: dict[str, list[tuple[int, float, int, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as source:
            for record in csv.DictReader(source):
                sums = (int(record["n"]), float(record["confidence"]), int(record["positives"]))
                rows.setdefault(record["label"], []).append((*sums, float(record["squares"])))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(str(path), f"is no table of reliability ({error})", "evaluate again") from error
    return {label: _reliability(table) for label, table in rows.items()}


def _reliability(table: Sequence[tuple[int, float, int, float]]) -> Reliability:
    n, confidence, positives, squares = zip(*table, strict=True)
    return Reliability(
        np.array(n, np.int64), np.array(confidence), np.array(positives, np.int64), float(sum(squares))
    )
