"""A trained model on the cases of one part: predictions, scores, report."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from medseg.data.cohort import Case, Cohort
from medseg.errors import UserError
from medseg.evaluation.cases import read_cases, write_cases
from medseg.evaluation.folder import evaluate_predictions
from medseg.evaluation.pictures import CasePicture, CohortPictures
from medseg.evaluation.report import write_report
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import summarise
from medseg.evaluation.table import print_table
from medseg.files import write_json
from medseg.inference.bundle import Bundle
from medseg.inference.predict import predict_cases
from medseg.inference.settings import InferenceSettings
from medseg.training.run_folder import RunFolder


def assess(
    run: RunFolder,
    cohort: Cohort,
    cases: Sequence[Case],
    part: str,
    inference: InferenceSettings,
    evaluation: EvaluationSettings,
    console: Console,
) -> Path:
    """Predicts, scores and reports; rows of other parts in ``cases.csv`` stay.

    Returns:
        The path of ``report.html``.

    Raises:
        UserError: no case of the part has a reference label, or the training saw one of its patients.
    """
    bundle = Bundle.load(run.model)
    labelled = scorable(bundle, cases, part)
    target = run.predictions / part
    predict_cases(cohort, labelled, [bundle], target, inference)
    rows = evaluate_predictions(cohort, labelled, target, evaluation, part)
    kept = read_cases(run.cases) if run.cases.exists() else []
    write_cases(run.cases, [*(row for row in kept if row.part != part), *rows])
    summary = summarise(rows, evaluation)[part]
    run.note(results=run.record.get("results", {}) | {part: summary.to_json()})
    write_json(run.path / "summary.json", run.record["results"])
    print_table(summary, console)
    return write_report(run.path, _pictures(run, cohort), evaluation)


def scorable(bundle: Bundle, cases: Sequence[Case], part: str) -> list[Case]:
    """The cases of a part that have a reference label, before anything is predicted.

    Raises:
        UserError: there is none, or the training saw one of their patients.
    """
    labelled = [case for case in cases if case.labelled]
    if not labelled:
        fix = "choose another part, or a split that has one"
        raise UserError("part", f"{part} has no labelled case", fix)
    seen = {case.patient for case in labelled if bundle.saw(case.patient)}
    if seen:
        problem = f"the model was trained on {len(seen)} of its patients"
        raise UserError("part", problem, "score it on cases it never saw")
    return labelled


def _pictures(run: RunFolder, cohort: Cohort) -> Mapping[str, CasePicture]:
    """The cases of all parts scored so far; a hidden label is no picture."""
    readable = {case.id for case in cohort.cases if case.labelled}
    parts: dict[str, list[str]] = {}
    for row in read_cases(run.cases):
        ids = parts.setdefault(row.part, [])
        if row.case in readable and row.case not in ids:
            ids.append(row.case)
    return ChainMap(*(CohortPictures(cohort, run.predictions / part, ids) for part, ids in parts.items()))  # type: ignore[arg-type]
