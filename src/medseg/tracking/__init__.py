"""What a run leaves behind: its record, its metrics, and Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def runs(
    source: str | Path | Sequence[str | Path] = "runs",
    *,
    study: str | None = None,
    entity: str | None = None,
    project: str = "medseg",
) -> pd.DataFrame:
    """All runs as one data frame, from their folders or from Weights & Biases, with the same columns.

    ``id study seed fold status network fusion objective loss steps train_minutes gpu_hours peak_memory_gb
    parameters``, then a column per part and metric, as ``validation_dice``: the mean over labels and cases,
    NaN where it was not measured.

    Args:
        source: ``"wandb"``, or a folder: of all runs, of a study, or of one run; or several of them.
        study: only the runs of this study.
        entity: of W&B; ``None`` for the default of whoever is logged in.
        project: of W&B.

    Raises:
        UserError: a folder is not there, or W&B cannot be asked.
    """
    from medseg.tracking.run_table import from_folders, table

    if source == "wandb":
        from medseg.tracking.wandb_runs import from_wandb

        return table(from_wandb(entity, project, study))
    given = [source] if isinstance(source, str | Path) else list(source)
    return table(from_folders([Path(folder) for folder in given], study))
