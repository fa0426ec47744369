"""A trained model on the cases of one part: predictions, scores, report."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from medseg.data.cohort import Case, Cohort
from medseg.errors import UserError
from medseg.evaluation.cases import Row, read_cases, write_cases
from medseg.evaluation.folder import evaluate_predictions
from medseg.evaluation.pictures import CasePicture, CohortPictures
from medseg.evaluation.report import write_report
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import summarise
from medseg.evaluation.table import print_table
from medseg.files import write_json
from medseg.inference.bundle import Bundle
from medseg.inference.finish import Finish
from medseg.inference.predict import predict_cases
from medseg.inference.settings import InferenceSettings
from medseg.training.after_scoring import after_scoring
from medseg.training.group import Group
from medseg.training.ranks import Ranks
from medseg.training.review_quality import note_review
from medseg.training.run_folder import RunFolder


def assess(
    run: RunFolder,
    cohort: Cohort,
    cases: Sequence[Case],
    part: str,
    inference: InferenceSettings,
    evaluation: EvaluationSettings,
    console: Console,
    group: Group | None = None,
    finish: Finish | None = None,
) -> Path:
    """Predicts, scores and reports; rows of other parts in ``cases.csv`` stay.

    Of several ranks each predicts and scores its own cases, and rank zero writes the rest. ``finish`` is
    done to the predictions instead of what the bundle says.

    Returns:
        The path of ``report.html``.

    Raises:
        UserError: no case of the part has a reference label, or the training saw one of its patients.
    """
    group, bundle = group or Group(Ranks()), Bundle.load(run.model)
    labelled = scorable(bundle, cases, part, finish)
    target, rows = run.predictions / part, []
    if mine := group.share(labelled):
        group.doing(f"prediction of {part} cases {', '.join(case.id for case in mine)}")
        predict_cases(cohort, mine, [bundle], target, inference, finish=finish)
        rows = evaluate_predictions(cohort, mine, target, evaluation, part)
    rows = in_order(group.gathered(rows), [case.id for case in labelled])
    if not group.leads:
        return run.path / "report.html"
    kept = read_cases(run.cases) if run.cases.exists() else []
    write_cases(run.cases, [*(row for row in kept if row.part != part), *rows])
    summary = summarise(rows, evaluation)[part]
    if inference.uncertainty:
        note_review(run.path, part, target, rows, cohort.labels.names)
    run.note(results=run.record.get("results", {}) | {part: summary.to_json()})
    write_json(run.path / "summary.json", run.record["results"])
    print_table(summary, console)
    after_scoring(run, part, rows, console)
    return write_report(run.path, _pictures(run, cohort), evaluation)


def in_order(rows: Sequence[Row], cases: Sequence[str]) -> list[Row]:
    """As one process finds them: sums in another order would differ in their last bits."""
    place = {case: k for k, case in enumerate(cases)}
    return sorted(rows, key=lambda row: place[row.case])


def scorable(bundle: Bundle, cases: Sequence[Case], part: str, finish: Finish | None = None) -> list[Case]:
    """The cases of a part that have a reference label, before anything is predicted.

    Raises:
        UserError: there is none, the training saw one of their patients, or one of their labels chose how
            predictions are finished.
    """
    labelled = [case for case in cases if case.labelled]
    if not labelled:
        fix = "choose another part, or a split that has one"
        raise UserError("part", f"{part} has no labelled case", fix)
    seen = {case.patient for case in labelled if case.patient in bundle.patients}
    if seen:
        problem = f"the model was trained on {len(seen)} of its patients"
        raise UserError("part", problem, "score it on cases it never saw")
    used = bundle.finish if finish is None else finish
    if tuned := {case.patient for case in labelled if used.tuned(case.patient)}:
        problem = f"the post-processing or temperature was chosen on {len(tuned)} of its patients"
        raise UserError("part", problem, "score it on the test part or on new data, or use postprocess=none")
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
