"""``medseg sync``: sends offline W&B runs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from medseg.evaluation.table import plural
from medseg.tracking.sync import offline_runs, send_offline_runs
from medseg.tracking.wandb_report import send_report, study_report


def sync(*, runs: list[str], report: bool, entity: str | None, project: str | None) -> None:
    """Sends what was not sent yet, and says how much that was; then the report, where one is asked for.

    Raises:
        UserError: a folder is not there, nobody is logged in, the server cannot be reached, or a report
            cannot be made.
    """
    # What a report lacks is said before anything is sent.
    written = study_report(Path(runs[0]), entity, project) if report else None
    found = offline_runs([Path(folder) for folder in runs])
    sent = send_offline_runs(found, entity, project)
    before = len(found) - sent
    told = f"{plural(sent, 'run')} sent" if found else "there is no offline run of W&B here"
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{told}, {before} sent before" if before else told)
    if written is not None:
        console.print(f"report {send_report(written)}")
