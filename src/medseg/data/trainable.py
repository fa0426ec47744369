"""The one door through which a training gets its cohort: split, and blind to what is kept for the test."""

from __future__ import annotations

from pathlib import Path

from medseg.data.cohort import Case, Cohort
from medseg.data.machine import usable_cores
from medseg.data.settings import DataSettings, SplitSettings
from medseg.data.source import open_cohort
from medseg.data.splits import Split, cohort_for_training, make_split
from medseg.errors import UserError

WORTH_PROCESSES = 512 * 2**20
"""Bytes of scans below which starting processes takes longer than reading the scans."""


def open_for_training(
    data: DataSettings, settings: SplitSettings, kept: Path | None = None
) -> tuple[Cohort, Split]:
    """The cohort without the labels of test patients, and its split.

    Args:
        data: where the cohort is.
        settings: how patients are dealt, where there is no split yet.
        kept: a split that was made before; read if the file is there.

    Raises:
        UserError: the cohort cannot be read, the split is not of it, or the names of the labels are known
            only from reading the labels of test patients, or of those beyond the label budget, too.
    """
    whole = open_cohort(data)
    split = Split.load(kept) if kept is not None and kept.exists() else make_split(whole, settings)
    split.validate(whole)
    if whole.scanned and (split.test_patients or split.budget is not None):
        whose = "test patients" if split.test_patients else "patients beyond the label budget"
        raise UserError(
            "data.labels",
            f"are not declared, and finding them would read the labels of {whose}",
            "declare them: data.labels={name: value}",
        )
    return cohort_for_training(whole, split), split


def workers_for(cases: tuple[Case, ...]) -> int:
    """Processes that repay their start for reading these cases."""
    size = sum(path.stat().st_size for case in cases for path in case.images.values() if path.is_file())
    return usable_cores() if size > WORTH_PROCESSES else 1
