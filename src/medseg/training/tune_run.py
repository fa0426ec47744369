"""``medseg tune run=RUN``: post-processing and temperature chosen on the run's validation cases."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from medseg.data.cohort import Case, Cohort
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.data.splits import Split
from medseg.errors import UserError
from medseg.files import write_json
from medseg.inference.bundle import Bundle
from medseg.inference.finish import Finish
from medseg.inference.finish_fields import store_finish
from medseg.inference.predict import predict_cases
from medseg.inference.probability_file import PROBABILITIES
from medseg.inference.settings import InferenceSettings
from medseg.training.console import open_console
from medseg.training.run_folder import RunFolder
from medseg.training.tuning import Choice, Chooser
from medseg.training.tuning_cases import TuningCase
from medseg.training.tuning_settings import TuningSettings

TUNING = "tuning.json"


def tune_run(
    run: Path,
    data: DataSettings,
    inference: InferenceSettings,
    tuning: TuningSettings,
    console: Console | None = None,
) -> Choice:
    """Chooses on the validation cases and stores the choice in the run's bundle; the weights are not touched.

    From then on the model may not be scored on these patients: only new data, or the test part, shows what
    the choice is worth. ``tuning.json`` in the run's folder says what was chosen and why. Where nothing is
    worth it the bundle is left, or made, as the training wrote it.

    Args:
        run: the run's folder.
        data: where its cohort is.
        inference: how to predict.
        tuning: what to try.
        console: where the result is printed.

    Raises:
        UserError: the run is not finished, has no validation cases, or was trained on their patients.
    """
    console = console or open_console()
    folder, bundle = RunFolder(run), finished_bundle(run)
    cohort = open_cohort(data)
    cases = validation_cases(run, cohort, bundle)
    with tempfile.TemporaryDirectory(prefix=".tuning-", dir=run) as scratch:
        held_out = predicted(run, bundle, cohort, cases, inference, Path(scratch))
        choice = Chooser(bundle.labels, tuning).choose(held_out)
    chosen = choice.finish != Finish()
    store_finish(folder.model, choice.finish, {case.patient for case in cases} if chosen else None)
    write_json(run / TUNING, choice.to_json())
    folder.note(tuned=choice.finish.decides if chosen else None)
    console.print(choice_table(choice, f"chosen on {choice.patients} validation patients"))
    if chosen:
        line = f"stored in {folder.model}; score it on the test part or on new data"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return choice


def finished_bundle(run: Path) -> Bundle:
    """The bundle of a run.

    Raises:
        UserError: it has none.
    """
    folder = RunFolder(run)
    if not folder.model.is_dir():
        fix = "finish its training by the same `medseg train` command"
        raise UserError(str(run), "has no trained model", fix)
    return Bundle.load(folder.model)


def validation_cases(run: Path, cohort: Cohort, bundle: Bundle) -> list[Case]:
    """The labelled cases that the run was validated on.

    Raises:
        UserError: there is none, or the training saw one of their patients.
    """
    folder = RunFolder(run)
    cases = Split.load(folder.split).cases(cohort, int(folder.record["fold"]), "validation")
    labelled = [case for case in cases if case.labelled]
    if not labelled:
        raise UserError(str(run), "has no labelled validation case", "tune a run that has some")
    if seen := {case.patient for case in labelled if case.patient in bundle.patients}:
        problem = f"was trained on {len(seen)} of its validation patients"
        raise UserError(str(run), problem, "tune on patients it never saw")
    return labelled


def predicted(
    run: Path,
    bundle: Bundle,
    cohort: Cohort,
    cases: Sequence[Case],
    inference: InferenceSettings,
    scratch: Path,
) -> list[TuningCase]:
    """The cases with the probabilities that the network gives them, in files below ``scratch``."""
    fold = int(RunFolder(run).record["fold"])
    settings = replace(inference, probabilities=True, uncertainty=False, mc_dropout=0)
    predict_cases(cohort, cases, [bundle], scratch, settings, finish=Finish())
    modalities = bundle.plan.modalities
    return [TuningCase(case, fold, scratch / (case.id + PROBABILITIES), modalities) for case in cases]


def choice_table(choice: Choice, title: str) -> Table:
    """What was chosen, and what each step adds on the cases that chose it."""
    table = Table(title=title, title_justify="left")
    table.add_column("step")
    table.add_column("Dice gained", justify="right")
    table.add_column("standard error", justify="right")
    if choice.finish.temperature != 1:
        before, after = choice.likelihood
        said = f"temperature {choice.finish.temperature:g} (likelihood {before:.4f} to {after:.4f} nats)"
        table.add_row(said, "", "")
    for gain in choice.gains:
        name = str(gain.step["_target_"]).rpartition(".")[2]
        options = ", ".join(f"{k}={v}" for k, v in gain.step.items() if k != "_target_")
        table.add_row(f"{name}({options})", f"{gain.gain:+.4f}", f"{gain.standard_error:.4f}")
    if choice.finish == Finish():
        table.add_row("nothing is better than the network alone by more than noise", "", "")
    return table
