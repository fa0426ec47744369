"""What follows from new scores of a run: its model card, and its run at Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from rich.console import Console

from medseg.errors import UserError
from medseg.evaluation.cases import Row
from medseg.evaluation.model_card import write_model_card
from medseg.tracking.settings import TrackingSettings
from medseg.tracking.wandb_scores import send_scores
from medseg.training.run_folder import RunFolder


def after_scoring(run: RunFolder, part: str, rows: Sequence[Row], console: Console) -> None:
    """Writes ``model/CARD.md`` and sends the scores where the run is tracked.

    Expects the scores in ``cases.csv`` and ``record.json``. What W&B does not take is told and no fault of
    the run: the scores are in its folder.
    """
    write_model_card(run.path)
    config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    tracking = TrackingSettings(**(config.get("tracking") or {"wandb": "disabled"}))
    try:
        send_scores(tracking, run.path, run.record, part, rows)
    except UserError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
