"""``medseg evaluate``: scores a run, or a folder of predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from medseg.config.yaml_guard import check_yaml
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.errors import UserError
from medseg.evaluation.cases import write_cases
from medseg.evaluation.folder import evaluate_predictions
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import summarise
from medseg.evaluation.table import print_table
from medseg.files import write_json
from medseg.inference.receipt import RECEIPT, seen_by
from medseg.inference.settings import InferenceSettings


def evaluate(
    *,
    run: str | None,
    part: Literal["test", "validation"],
    predictions: str | None,
    output: str | None,
    inference: InferenceSettings,
    evaluation: EvaluationSettings,
    data: DataSettings | None = None,
) -> None:
    """Scores ``part`` of a run's split with its model, or ``predictions`` of every labelled case.

    Raises:
        UserError: something is not there or not usable, or the model was trained on one of the patients.
    """
    console = Console()
    if run is not None:
        from medseg.training.evaluate_run import evaluate_run

        report = evaluate_run(Path(run), part, _data_of(Path(run), data), inference, evaluation, console)
        console.print(f"report {report}", markup=False, highlight=False, soft_wrap=True)
        return
    assert predictions is not None
    assert data is not None
    folder = Path(predictions)
    seen = _seen(folder, console)
    cohort = open_cohort(data)
    cases = [case for case in cohort.cases if case.labelled]
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


def _data_of(run: Path, given: DataSettings | None) -> DataSettings:
    """The data of the run, with what the command line says otherwise, such as another ``data.root``."""
    import yaml

    file = run / "config.yaml"
    if not file.is_file():
        raise UserError("run", f"{run} is not a run's folder: it has no config.yaml", "give runs/NAME/ID")
    check_yaml(file)
    recorded: dict[str, Any] = dict(yaml.safe_load(file.read_text(encoding="utf-8"))["data"])
    usual = asdict(DataSettings())
    said = {k: v for k, v in asdict(given).items() if v != usual[k]} if given else {}
    return DataSettings(**recorded | said)
