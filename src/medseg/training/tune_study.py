"""``medseg tune study=STUDY``: post-processing chosen on out-of-fold predictions of several folds."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from medseg.data.cohort import Cohort
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.data.splits import Split
from medseg.errors import UserError
from medseg.files import write_json
from medseg.inference.bundle import Bundle
from medseg.inference.ensemble_bundle import save_ensemble
from medseg.inference.finish import Finish
from medseg.inference.settings import InferenceSettings
from medseg.training.console import open_console
from medseg.training.run_folder import RunFolder
from medseg.training.tune_run import TUNING, choice_table, finished_bundle, predicted, validation_cases
from medseg.training.tuning import Choice, Chooser, standard_error
from medseg.training.tuning_cases import TuningCase
from medseg.training.tuning_settings import TuningSettings

ENSEMBLE = "ensemble"
_APART = ("fold", "id", "runs", "tracking")
"""Keys in which the runs of one study may differ."""


@dataclass(frozen=True)
class StudyChoice:
    """What the folds of a study chose.

    Attributes:
        folds: fold -> what the *other* folds chose, for its own out-of-fold row.
        overall: what all of them chose, for the ensemble.
        dice: name -> mean Dice over patients out of fold, as the networks predict and finished by what the
            other folds chose; nobody's label had a say in his own.
        gain: mean over patients of what their mean Dice gains, and its standard error.
    """

    folds: Mapping[int, Choice]
    overall: Choice
    dice: Mapping[str, tuple[float, float]]
    gain: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "folds": {str(fold): choice.to_json() for fold, choice in self.folds.items()},
            "overall": self.overall.to_json(),
            "out_of_fold": {"dice": {name: list(pair) for name, pair in self.dice.items()}}
            | {"gain": self.gain[0], "standard_error": self.gain[1] if self.gain[1] < float("inf") else None},
        }


def tune_study(
    study: Path | Sequence[Path],
    data: DataSettings,
    inference: InferenceSettings,
    tuning: TuningSettings,
    console: Console | None = None,
    *,
    ensemble: bool = True,
) -> StudyChoice:
    """Chooses on the cases that each fold's run was validated on.

    Each fold's own predictions are to be finished by what the others chose, so that no label had a say in how
    its own case is post-processed. ``tuning.json`` in the study's folder holds all of it (`fold_finishes`),
    and ``ensemble`` the model of all folds with what all of them chose. The runs' bundles stay as they are.

    Args:
        study: a folder of runs of one configuration that differ in their fold, or these runs.
        data: where their cohort is.
        inference: how to predict.
        tuning: what to try.
        console: where the result is printed.
        ensemble: whether to write the model of all folds.

    Raises:
        UserError: fewer than two folds, a fold twice, other configurations or splits, or an unfinished run.
    """
    console = console or open_console()
    runs, folder = study_runs(study)
    bundles = {run: finished_bundle(run) for run in runs}
    cohort = open_cohort(data)
    with tempfile.TemporaryDirectory(prefix=".tuning-", dir=folder) as scratch:
        cases = _out_of_fold(bundles, cohort, inference, Path(scratch))
        chooser = Chooser(bundles[runs[0]].labels, tuning)
        folds = {case.fold for case in cases}
        chosen = {k: chooser.choose([case for case in cases if case.fold != k]) for k in sorted(folds)}
        choice = _judged(chooser, cases, chosen, chooser.choose(cases))
    write_json(folder / TUNING, choice.to_json())
    title = f"chosen on {choice.overall.patients} patients of {len(folds)} folds"
    console.print(choice_table(choice.overall, title))
    console.print(_honest_table(choice))
    if ensemble:
        target = study_ensemble(runs, folder, choice, cases)
        console.print(f"ensemble {target}", markup=False, highlight=False, soft_wrap=True)
    return choice


def _judged(
    chooser: Chooser, cases: Sequence[TuningCase], chosen: Mapping[int, Choice], overall: Choice
) -> StudyChoice:
    """With what it is worth: each fold finished by the choice of the others."""
    parts = [
        chooser.per_patient([case for case in cases if case.fold == fold], [Finish(), choice.finish])
        for fold, choice in chosen.items()
    ]
    both = np.concatenate(parts, axis=1)
    means = both.mean(axis=1)
    dice = {name: (float(a), float(b)) for name, a, b in zip(chooser.labels.names, *means, strict=True)}
    change = (both[1] - both[0]).mean(axis=1)
    return StudyChoice(chosen, overall, dice, (float(change.mean()), standard_error(change)))


def _honest_table(choice: StudyChoice) -> Table:
    table = Table(title="out of fold, each fold finished by what the others chose", title_justify="left")
    for column in ("label", "Dice as predicted", "finished"):
        table.add_column(column, justify="left" if column == "label" else "right")
    for name, (before, after) in choice.dice.items():
        table.add_row(name, f"{before:.4f}", f"{after:.4f}")
    gain, error = choice.gain
    table.caption = f"gain {gain:+.4f}, standard error {error:.4f}"
    return table


def study_ensemble(
    runs: Sequence[Path], folder: Path, choice: StudyChoice | None, cases: Sequence[TuningCase] = ()
) -> Path:
    """Writes ``ensemble`` into the study's folder: all folds as one model, finished as all of them chose."""
    finish = Finish() if choice is None else choice.overall.finish
    return save_ensemble(
        [RunFolder(run).model for run in runs],
        folder / ENSEMBLE,
        postprocess=finish.postprocess,
        temperature=finish.temperature,
        tuned_on={case.patient for case in cases} if finish != Finish() else None,
        provenance={"runs": [RunFolder(run).record.get("id") for run in runs]},
    )


def study_runs(study: Path | Sequence[Path]) -> tuple[list[Path], Path]:
    """The runs of a study in the order of their folds, and the study's folder.

    Raises:
        UserError: fewer than two folds, a fold twice, or other configurations or splits.
    """
    folder = study if isinstance(study, Path) else Path(study[0]).parent
    if isinstance(study, Path) and not study.is_dir():
        raise UserError(f"study={study}", "is not there", "give runs/NAME, a folder of runs")
    given = sorted(study.iterdir()) if isinstance(study, Path) else list(study)
    runs = [path for path in given if RunFolder(path).config.is_file()]
    runs.sort(key=lambda run: int(RunFolder(run).record["fold"]))
    folds = [int(RunFolder(run).record["fold"]) for run in runs]
    if len({*folds}) < 2:
        problem = f"has runs of {len({*folds})} folds"
        fix = "train the others: medseg train -m fold=0,1,2,3,4"
        raise UserError(f"study={folder}", problem, fix)
    if len({*folds}) < len(folds):
        twice = next(fold for fold in folds if folds.count(fold) > 1)
        fix = "give a study of one configuration and one seed"
        raise UserError(f"study={folder}", f"has two runs of fold {twice}", fix)
    _refuse_others(runs)
    return runs, folder


def _refuse_others(runs: Sequence[Path]) -> None:
    """Raises `UserError` where the runs are not of one configuration and split."""
    first = _kept(runs[0])
    for run in runs[1:]:
        other = _kept(run)
        differing = sorted(k for k in first.keys() | other.keys() if first.get(k) != other.get(k))
        if differing:
            problem = f"differs from {runs[0]} in {', '.join(differing[:3])}"
            raise UserError(str(run), problem, "give runs that differ in their fold alone")
        if Split.load(RunFolder(run).split).hash != Split.load(RunFolder(runs[0]).split).hash:
            raise UserError(str(run), f"has another split than {runs[0]}", "train it with the same split")


def _kept(run: Path) -> dict[str, Any]:
    import yaml

    content = yaml.safe_load(RunFolder(run).config.read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in _APART}


def _out_of_fold(
    bundles: Mapping[Path, Bundle], cohort: Cohort, inference: InferenceSettings, scratch: Path
) -> list[TuningCase]:
    found: list[TuningCase] = []
    for number, (run, bundle) in enumerate(bundles.items()):
        cases = validation_cases(run, cohort, bundle)
        found += predicted(run, bundle, cohort, cases, inference, scratch / str(number))
    return found


def fold_finishes(study: Path) -> dict[int, Finish]:
    """Fold -> how its out-of-fold predictions are to be finished: by what the other folds chose.

    Nothing where `tune_study` was not done. Pass them to `medseg.inference.predict.predict_cases`.

    Raises:
        UserError: ``tuning.json`` cannot be read.
    """
    path = study / TUNING
    if not path.is_file():
        return {}
    content = _read(path)
    return {int(fold): _finish(one, path) for fold, one in content["folds"].items()}


def overall_finish(study: Path) -> Finish | None:
    """What all folds chose, for their ensemble; ``None`` where `tune_study` was not done.

    Raises:
        UserError: ``tuning.json`` cannot be read.
    """
    path = study / TUNING
    return _finish(_read(path)["overall"], path) if path.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or not {"folds", "overall"} <= content.keys():
        raise UserError(str(path), "is not what a study has chosen", "run medseg tune study=... again")
    return content


def _finish(choice: Mapping[str, Any], path: Path) -> Finish:
    try:
        return Finish(tuple(choice["postprocess"]), float(choice["temperature"]))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            str(path), "is not what a study has chosen", "run medseg tune study=... again"
        ) from None
