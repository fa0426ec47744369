"""``medseg check``: one line per finding, and a page to look at."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from medseg.data.check_page import write_check_page
from medseg.data.settings import DataSettings, SplitSettings
from medseg.data.source import open_cohort
from medseg.data.splits import make_split
from medseg.data.verify import verify
from medseg.errors import UserError


def check(report: str | None, data: DataSettings, split: SplitSettings) -> int:
    """Verifies a cohort and its split.

    Returns:
        1 where there are errors, which a training refuses; 0 otherwise, warnings included.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    cohort = open_cohort(data)
    findings = verify(cohort)
    if not any(finding.severity == "error" for finding in findings):
        try:
            findings = verify(cohort, make_split(cohort, split))
        except UserError as error:
            console.print(str(error))
            return 1
    for finding in findings:
        console.print(finding.line())
    page = write_check_page(cohort, findings, Path(report or f"checks/{cohort.name}"))
    errors = sum(finding.severity == "error" for finding in findings)
    console.print(
        f"{len(cohort.cases)} cases, {errors} errors, {len(findings) - errors} warnings; page {page}"
    )
    return 1 if errors else 0
