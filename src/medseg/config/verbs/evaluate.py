"""``medseg evaluate``: scores a run, or a folder of predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from medseg.config.verbs.recorded import recorded
from medseg.data.cohort import Case, Cohort
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.errors import UserError
from medseg.evaluation.cases import write_cases
from medseg.evaluation.folder import evaluate_predictions, label_files
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import summarise
from medseg.evaluation.table import print_table
from medseg.files import write_json
from medseg.inference.receipt import RECEIPT, seen_by
from medseg.inference.settings import InferenceSettings


def evaluate(
    *,
    run: str | None,
    study: str | None,
    vary: list[str] | None,
    part: Literal["test", "validation"],
    predictions: str | None,
    output: str | None,
    missing: Literal["all"] | None,
    inference: InferenceSettings,
    evaluation: EvaluationSettings,
    data: DataSettings | None = None,
    postprocess: dict[str, Any] | None = None,
) -> None:
    """Scores ``part`` of a run's split with its model, or the labelled cases that ``predictions`` are of.

    With ``study`` the scores of its folds become one table, and their models one model.

    Raises:
        UserError: something is not there or not usable, or the model was trained on one of the patients.
    """
    console = Console()
    if study is not None:
        from medseg.training.study import evaluate_study

        evaluate_study(Path(study), vary, Path(output) if output else None, console)
        return
    if run is not None:
        from medseg.training.evaluate_run import evaluate_run

        where = Path(run)
        report = evaluate_run(
            where,
            part,
            recorded(where, "data", data),
            recorded(where, "inference", inference),
            recorded(where, "evaluation", evaluation),
            missing=missing == "all",
            postprocess=None if postprocess is None else [postprocess],
        )
        what = "matrix" if missing else "report"
        console.print(f"{what} {report}", markup=False, highlight=False, soft_wrap=True)
        return
    assert predictions is not None
    assert data is not None
    folder = Path(predictions)
    _score(folder, Path(output) if output else folder / "evaluation", data, evaluation, console)


def _score(
    folder: Path, target: Path, data: DataSettings, evaluation: EvaluationSettings, console: Console
) -> None:
    """Scores a folder of predictions and writes its tables to ``target``."""
    seen = _seen(folder, console)
    cohort = open_cohort(data)
    cases = _predicted(cohort, folder, console)
    rows = evaluate_predictions(cohort, cases, folder, evaluation, "predictions", seen=seen)
    summary = summarise(rows, evaluation)["predictions"]
    write_cases(target / "cases.csv", rows)
    write_json(target / "summary.json", {"predictions": summary.to_json()})
    print_table(summary, console)
    console.print(f"written to {target}", markup=False, highlight=False, soft_wrap=True)


def _seen(folder: Path, console: Console) -> Callable[[str], bool] | None:
    """Whether the models that predicted were trained on a patient; says so where nobody can know."""
    seen = seen_by(folder)
    if seen is None and folder.is_dir():
        line = f"{folder} has no {RECEIPT}: whether the model was trained on these patients cannot be checked"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return seen


def _predicted(cohort: Cohort, folder: Path, console: Console) -> list[Case]:
    """The labelled cases that have a prediction; says how many have none, so that nobody overlooks it."""
    files = label_files(folder)
    labelled = [case for case in cohort.cases if case.labelled]
    cases = [case for case in labelled if case.id in files]
    if not cases:
        raise UserError(str(folder), "has no prediction of a labelled case", "look at the ids of the cohort")
    if len(cases) < len(labelled):
        console.print(
            f"{len(cases)} of {len(labelled)} labelled cases have a prediction; the rest is not scored"
        )
    return cases
