"""How a model does without some of its modalities: every non-empty subset of them, scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from rich.console import Console

from medseg.data.cohort import Case, Cohort
from medseg.errors import UserError
from medseg.evaluation.cases import Row, write_cases
from medseg.evaluation.folder import evaluate_predictions
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import summarise
from medseg.evaluation.table import missing_table
from medseg.files import write_json
from medseg.inference.bundle import Bundle
from medseg.inference.predict import predict_cases
from medseg.inference.settings import InferenceSettings
from medseg.training.assess import scorable
from medseg.training.run_folder import RunFolder


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """All ``2^n - 1`` of them in the order of the modalities, the largest first."""
    sizes = range(len(modalities), 0, -1)
    return [chosen for size in sizes for chosen in combinations(modalities, size)]


def missing_matrix(
    run: RunFolder,
    cohort: Cohort,
    cases: Sequence[Case],
    part: str,
    inference: InferenceSettings,
    evaluation: EvaluationSettings,
    console: Console,
) -> Path:
    """Predicts and scores ``cases`` with each subset of the modalities and prints the matrix.

    A case counts for a subset where it has all of it. Below the run's folder are written
    ``missing/PART.csv`` with a row per subset, case, label and metric (the subset stands as ``part``),
    ``missing/PART.json`` with what they add up to, and the predictions.

    Returns:
        The path of the JSON file.

    Raises:
        UserError: the cohort has one modality, no case has a label, or the training saw a patient.
    """
    modalities, bundle = cohort.modalities, Bundle.load(run.model)
    if len(modalities) < 2:
        raise UserError("missing", f"{cohort.name} has one modality", "leave missing=null")
    labelled = scorable(bundle, cases, part)
    rows: list[Row] = []
    names = {chosen: "+".join(chosen) for chosen in subsets(modalities)}
    for chosen, name in names.items():
        having = [_only(case, chosen) for case in labelled if {*chosen} <= {*case.images}]
        if having:
            target = run.path / "missing" / part / name
            predict_cases(cohort, having, [bundle], target, inference, without=True)
            rows += evaluate_predictions(cohort, having, target, evaluation, name)
            console.print(f"{name}: {len(having)} cases scored", highlight=False)
    found = summarise(rows, evaluation)
    folder = run.path / "missing"
    write_cases(folder / f"{part}.csv", rows)
    write_json(folder / f"{part}.json", {name: summary.to_json() for name, summary in found.items()})
    scores = {chosen: found[name] for chosen, name in names.items() if name in found}
    console.print(missing_table(scores, modalities, bundle.missing_modalities))
    return folder / f"{part}.json"


def _only(case: Case, modalities: Sequence[str]) -> Case:
    images: Mapping[str, Path] = {name: case.images[name] for name in modalities}
    return replace(case, images=images)
