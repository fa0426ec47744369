"""``medseg check``: one line per finding, and a page to look at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console

from medseg.data.check_page import write_check_page
from medseg.data.cohort import Cohort
from medseg.data.settings import DataSettings, SplitSettings
from medseg.data.source import open_cohort
from medseg.data.splits import Split, make_split
from medseg.data.verify import inspect
from medseg.errors import UserError


def check(report: str | None, data: DataSettings, split: SplitSettings) -> int:
    """Verifies a cohort and its split.

    Returns:
        1 where there are errors, which a training refuses; 0 otherwise, warnings included.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    cohort = open_cohort(data)
    made, refused = _split(cohort, split)
    found = inspect(cohort, made)
    for finding in found.findings:
        console.print(finding.line())
    if refused:
        console.print(f"error: {refused}")
    page = write_check_page(cohort, found, Path(report or f"checks/{cohort.name}"))
    counts = Counter(finding.severity for finding in found.findings)
    errors = counts["error"] + bool(refused)
    console.print(f"{len(cohort.cases)} cases, {errors} errors, {counts['warning']} warnings; page {page}")
    return 1 if errors else 0


def _split(cohort: Cohort, settings: SplitSettings) -> tuple[Split | None, str]:
    """The split, or why there is none: what else is wrong is worth telling all the same."""
    try:
        return make_split(cohort, settings), ""
    except UserError as error:
        return None, str(error)
