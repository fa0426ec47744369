"""``medseg evaluate``: scores a run, or a folder of predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from medseg.config.yaml_guard import check_yaml
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

_KINDS: dict[str, Any] = {
    "data": DataSettings,
    "inference": InferenceSettings,
    "evaluation": EvaluationSettings,
}


def evaluate(
    *,
    run: str | None,
    part: Literal["test", "validation"],
    predictions: str | None,
    output: str | None,
    missing: Literal["all"] | None,
    inference: InferenceSettings,
    evaluation: EvaluationSettings,
    data: DataSettings | None = None,
) -> None:
    """Scores ``part`` of a run's split with its model, or the labelled cases that ``predictions`` are of.

    Raises:
        UserError: something is not there or not usable, or the model was trained on one of the patients.
    """
    console = Console()
    if run is not None:
        from medseg.training.evaluate_run import evaluate_run

        where = Path(run)
        report = evaluate_run(
            where,
            part,
            _recorded(where, "data", data),
            _recorded(where, "inference", inference),
            _recorded(where, "evaluation", evaluation),
            missing=missing == "all",
        )
        what = "matrix" if missing else "report"
        console.print(f"{what} {report}", markup=False, highlight=False, soft_wrap=True)
        return
    assert predictions is not None
    assert data is not None
    folder = Path(predictions)
    seen = _seen(folder, console)
    cohort = open_cohort(data)
    cases = _predicted(cohort, folder, console)
    rows = evaluate_predictions(cohort, cases, folder, evaluation, "predictions", seen=seen)
    summary = summarise(rows, evaluation)["predictions"]
    target = Path(output) if output else folder / "evaluation"
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


def _recorded(run: Path, group: str, given: Any) -> Any:
    """The settings that the run was made with, with what the command line says otherwise."""
    import yaml

    kind = _KINDS[group]
    file = run / "config.yaml"
    if not file.is_file():
        raise UserError("run", f"{run} is not a run's folder: it has no config.yaml", "give runs/NAME/ID")
    check_yaml(file)
    recorded: dict[str, Any] = dict(yaml.safe_load(file.read_text(encoding="utf-8"))[group])
    usual = asdict(kind())
    said = {k: v for k, v in asdict(given).items() if v != usual[k]} if given else {}
    return kind(**recorded | said)
