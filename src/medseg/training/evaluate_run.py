"""Scores a finished run on one part of its split: the only place where test labels are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.data.splits import Part, Split
from medseg.errors import UserError
from medseg.evaluation.settings import EvaluationSettings
from medseg.inference.bundle import Bundle
from medseg.inference.finish import Spec
from medseg.inference.settings import InferenceSettings
from medseg.training.assess import assess
from medseg.training.console import open_console
from medseg.training.missing_matrix import missing_matrix
from medseg.training.run_folder import RunFolder


def evaluate_run(
    run: Path,
    part: Part,
    data: DataSettings,
    inference: InferenceSettings,
    evaluation: EvaluationSettings,
    console: Console | None = None,
    missing: bool = False,
    postprocess: Sequence[Spec] | None = None,
) -> Path:
    """Predicts and scores the cases of ``part`` with the run's bundle and rewrites its report.

    Args:
        run: the run's folder.
        part: ``validation`` or ``test``; nobody may be scored on ``train``.
        data: where the cohort is; it must be the one that the run's split was made for.
        missing: score every subset of the modalities instead, see `medseg.training.missing_matrix`.

        postprocess: specs to finish predictions with; ``None`` for what the bundle says.

    Returns:
        The path of ``report.html``, or of the matrix.

    Raises:
        UserError: the run is not finished, the part is empty, or the training saw one of its patients.
    """
    if part not in ("validation", "test"):
        raise UserError("part", f"{part!r} cannot be scored", "use validation or test")
    folder = RunFolder(run)
    record: dict[str, Any] = folder.record
    if not folder.model.is_dir():
        raise UserError(
            str(run), "has no trained model", "finish its training by the same `medseg train` command"
        )
    split = Split.load(folder.split)
    cohort = open_cohort(data)
    cases = split.cases(cohort, int(record["fold"]), part)
    console = console or open_console()
    if missing:
        return missing_matrix(folder, cohort, cases, part, inference, evaluation, console)
    finish = None if postprocess is None else Bundle.load(folder.model).finish.with_steps(postprocess)
    return assess(folder, cohort, cases, part, inference, evaluation, console, finish=finish)
