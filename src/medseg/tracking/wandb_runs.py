"""Runs as Weights & Biases knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medseg.errors import UserError
from medseg.tracking.run_table import COLUMNS, Row, row_of

RECORD, SCORES = "record/", "scores/"
"""What the names of a run's facts and scores begin with in its summary."""


def from_wandb(entity: str | None, project: str, study: str | None) -> Iterator[Row]:
    """A row for each run of a project.

    Raises:
        UserError: nobody is logged in, there is no network, or no such project.
    """
    import wandb

    path = f"{entity}/{project}" if entity else project
    try:
        found = wandb.Api().runs(path, filters={"group": study} if study else None, lazy=False)
        for run in found:
            config, summary = dict(run.config), dict(run.summary)
            yield row_of_wandb(run.id, run.group, run.state, config, summary)
    except (wandb.errors.Error, ValueError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError("wandb", f"{path} cannot be read ({told})", "run `wandb login`, see --help") from None


def row_of_wandb(
    run_id: str, group: str | None, state: str, config: Mapping[str, Any], summary: Mapping[str, Any]
) -> Row:
    """The row of one run from what W&B keeps of it; the same as that of its folder."""
    record = {name: summary[RECORD + name] for name in COLUMNS if summary.get(RECORD + name) is not None}
    record = {"status": state} | record | {"id": run_id, "study": group}
    scores = {
        key.removeprefix(SCORES).replace("/", "_", 1): float(value)
        for key, value in summary.items()
        if key.startswith(SCORES) and key.count("/") == 2 and isinstance(value, int | float)
    }
    return row_of(config, record, scores)
