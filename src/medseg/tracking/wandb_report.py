"""A report of a study at Weights & Biases: what was found, curves, scores, and what the runs differ in."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from medseg.errors import UserError
from medseg.tracking.run_table import PARTS, from_folders
from medseg.tracking.settings import TrackingSettings
from medseg.tracking.wandb_runs import SCORES

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import Report

_LEADERBOARD = "comparison/leaderboard.md"
_NOTE = (
    "Means and spreads of the charts below are W&B's, over runs. It knows nothing of patients: intervals and "
    "verdicts are those of the table above."
)


def send_report(report: Report) -> str:
    """Saves a report at the server, as one more; its address.

    Raises:
        UserError: the server refuses it.
    """
    import wandb

    try:
        report.save()
    except (wandb.errors.Error, ValueError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError("wandb", f"did not take the report ({told})", "run `wandb login`") from None
    return str(report.url)


def study_report(study: Path, entity: str | None, project: str | None) -> Report:
    """The report; nothing is sent.

    The leaderboard of ``medseg compare`` stands first. The runs are those of the study's group. They are
    grouped by the parts in which they differ.

    Args:
        study: its folder, with the comparison that ``medseg compare`` has written.
        entity: the team or user; where it is missing, as the runs say.
        project: the project; where it is missing, as the runs say.

    Raises:
        UserError: W&B's package for reports is not installed, no run is there, or no comparison.
    """
    if find_spec("wandb_workspaces") is None:
        fix = "install it with pip install 'medseg[report]'"
        raise UserError("report", "W&B's package for reports is not installed", fix)
    from wandb_workspaces.reports.v2 import interface as wr

    rows = list(from_folders([study], None))
    names = sorted({str(row["study"]) for row in rows})
    if len(names) != 1 or not (study / str(rows[0]["id"])).is_dir():
        problem = "holds no run" if not rows else "is not the folder of one study"
        raise UserError(str(study), problem, "give the folder of a study, as runs/NAME")
    board = study / _LEADERBOARD
    if not board.is_file():
        raise UserError(str(board), "is not there", f"run medseg compare {study} first")
    name = names[0]
    told = _tracking(study / str(rows[0]["id"]))
    runs = wr.Runset(
        entity=entity or told.entity or "",
        project=project or told.project,
        name=name,
        filters=f'Group = "{name}"',
        groupby=[f"config.{key}" for key in _varied(rows)],
    )
    return wr.Report(
        entity=entity or told.entity or "",
        project=project or told.project,
        title=name,
        description=f"{len(rows)} runs",
        blocks=[
            wr.MarkdownBlock(text=board.read_text(encoding="utf-8")),
            wr.P(text=_NOTE),
            wr.PanelGrid(runsets=[runs], panels=_panels(rows)),
        ],
    )


def _panels(rows: Sequence[dict[str, Any]]) -> list[Any]:
    from wandb_workspaces.reports.v2 import interface as wr

    columns = dict.fromkeys(key for row in rows for key in row)
    scores = [f"{part}/{metric}" for part in ("validation", "test") for metric in ("dice", "hd95")]
    bars = [
        wr.BarPlot(title=score.replace("/", " "), metrics=[wr.SummaryMetric(SCORES + score)])
        for score in scores
        if score.replace("/", "_") in columns
    ]
    return [
        wr.LinePlot(title="training loss", x="Step", y=["train/loss"], smoothing_factor=0.8),
        wr.LinePlot(title="Dice on validation patches", x="Step", y=["validation/dice"]),
        *bars,
        wr.RunComparer(diff_only="split"),
    ]


def _varied(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The keys of the configuration by which the runs are grouped."""
    return [f"{slot}._target_" for slot in PARTS if len({row[slot] for row in rows}) > 1]


def _tracking(run: Path) -> TrackingSettings:
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return TrackingSettings(**config["tracking"])
