"""The scores of a finished run, sent to its W&B run: means, costs, and a table of pseudonymous cases."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from medseg.errors import UserError
from medseg.tracking.run_table import facts
from medseg.tracking.settings import TrackingSettings
from medseg.tracking.sync import offline_runs
from medseg.tracking.wandb_runs import RECORD, SCORES
from medseg.tracking.weights_and_biases import Pseudonyms, private_settings

_ITS_OWN = ("id", "study", "status")
"""What W&B knows of a run by itself."""


class CaseValue(Protocol):
    """One value of one case; `medseg.evaluation.cases.Row` is one."""

    @property
    def case(self) -> str:
        """The case id; it is not sent."""

    @property
    def label(self) -> str:
        """A class or region."""

    @property
    def metric(self) -> str:
        """The metric's name."""

    @property
    def value(self) -> float:
        """The value, not a number where it has none."""

    @property
    def status(self) -> str:
        """``ok``, ``nan`` or ``missed``."""


def send_scores(
    settings: TrackingSettings,
    folder: Path,
    record: Mapping[str, Any],
    part: str,
    rows: Sequence[CaseValue],
) -> None:
    """Adds the scores of one part to the run that its training made; kept in the folder where that one is.

    Neither case nor patient nor centre is sent: a case has the pseudonym of the pictures.

    Args:
        settings: nothing is sent where they disable W&B.
        folder: the run's.
        record: its ``record.json``, with the results of the part.
        part: the name of the cases, as ``validation``.
        rows: their values.

    Raises:
        UserError: W&B refuses, as where nobody is logged in.
    """
    if settings.wandb == "disabled":
        return
    import wandb

    try:
        _send(settings, folder, record, part, rows)
    except wandb.errors.Error as error:
        told = " ".join(str(error).split())[:200]
        fix = "the scores stay in the run's folder"
        raise UserError("wandb", f"did not take the scores ({told})", fix) from None


def _send(
    settings: TrackingSettings,
    folder: Path,
    record: Mapping[str, Any],
    part: str,
    rows: Sequence[CaseValue],
) -> None:
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    run = wandb.init(
        project=settings.project,
        entity=settings.entity,
        name=record["id"],
        id=record["id"],
        resume="allow",
        group=record["name"],
        dir=str(folder),
        mode="offline" if settings.wandb == "offline" or _kept(folder) else "online",
        settings=private_settings(system_metrics=False),
    )
    columns, data = case_table(rows, Pseudonyms(folder / "pseudonym-salt.txt"))
    # In the summary and not in the history: a resumed run may not go back to an earlier step.
    table = {f"{SCORES}{part}/cases": wandb.Table(columns=columns, data=data)}
    run.summary.update(summary_of(record) | table)
    run.finish()


def _kept(folder: Path) -> bool:
    """Whether the training could not be sent and waits for `medseg sync`; its scores then wait with it."""
    return any(not run.sent for run in offline_runs([folder]))


def summary_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says as entries of a W&B summary."""
    found: dict[str, Any] = {
        RECORD + name: value
        for name, value in facts(record).items()
        if value is not None and name not in _ITS_OWN
    }
    for part, summary in (record.get("results") or {}).items():
        for metric, statistics in summary["overall"].items():
            if statistics["mean"] is not None:
                found[f"{SCORES}{part}/{metric}"] = statistics["mean"]
        for label, by in summary["labels"].items():
            for metric, statistics in by.items():
                if statistics["mean"] is not None:
                    found[f"{SCORES}{part}/{metric}/{label}"] = statistics["mean"]
    return found


def case_table(
    rows: Sequence[CaseValue], pseudonym: Pseudonyms
) -> tuple[list[str], list[list[str | float | None]]]:
    """Columns and lines: a line per case and label, a column per metric; what is not a number is empty."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    lines: dict[tuple[str, str], dict[str, float]] = {}
    missed: set[tuple[str, str]] = set()
    for row in rows:
        line = lines.setdefault((row.case, row.label), {})
        if row.status != "nan":
            line[row.metric] = row.value
        if row.status == "missed":
            missed.add((row.case, row.label))
    data: list[list[str | float | None]] = [
        [pseudonym(case), label, "missed" if (case, label) in missed else "", *(line.get(m) for m in metrics)]
        for (case, label), line in lines.items()
    ]
    # Not in the order of the ids, which would tell which is which.
    return ["case", "label", "note", *metrics], sorted(data, key=lambda line: (str(line[0]), str(line[1])))
