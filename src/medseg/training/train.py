"""One run, from a cohort to a model bundle and a report; the same command goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from medseg.evaluation.report import write_report
from medseg.inference.bundle import save_bundle
from medseg.training.assess import assess
from medseg.training.checkpoints import newest_whole
from medseg.training.console import open_console, quieten
from medseg.training.fitting import Fitting
from medseg.training.preparation import Prepared, prepare
from medseg.training.pretraining import pretrains, publish_encoder, seen_by_encoder
from medseg.training.recipe import Recipe
from medseg.training.run_folder import RunFolder


def train(**choices: Any) -> Path:
    """Trains, predicts the validation cases, scores them and writes the report.

    Args:
        choices: the fields of `medseg.training.recipe.Recipe`.

    Returns:
        The run's folder.

    Raises:
        UserError: bad input; the run's folder then holds what was done so far and nothing half written.
    """
    recipe, console = Recipe(**choices), open_console()
    run = RunFolder(recipe.folder)
    quieten()
    run.claim()
    try:
        run.begin(recipe)
        if run.record.get("status") == "finished":
            console.print(f"{run.path} is finished already; see report.html there", soft_wrap=True)
            return run.path
        console.print(f"run {run.path}", soft_wrap=True)
        _fix_threads(recipe, run)
        prepared = prepare(recipe, run, console)
        if not run.model.is_dir():
            _fit(recipe, run, prepared, console)
        report = _report(recipe, run, prepared, console)
        run.note(status="finished")
        console.print(f"report {report}", soft_wrap=True)
        if pretrains(recipe):
            console.print(f"to start from this encoder: finetuning.pretrained={run.path}", soft_wrap=True)
    finally:
        run.release()
    return run.path


def _report(recipe: Recipe, run: RunFolder, prepared: Prepared, console: Console) -> Path:
    """With scores of the validation cases, where there is something to score."""
    if pretrains(recipe):
        return write_report(run.path, settings=recipe.evaluation)
    return assess(
        run,
        prepared.cohort,
        prepared.validation,
        "validation",
        recipe.inference,
        recipe.evaluation,
        console,
    )


def _fix_threads(recipe: Recipe, run: RunFolder) -> None:
    """Sums over other numbers of threads are other bits, so a run keeps the number that it began with."""
    torch.set_num_threads(recipe.training.threads or run.record.get("threads") or torch.get_num_threads())
    run.note(threads=torch.get_num_threads())


def _fit(recipe: Recipe, run: RunFolder, prepared: Prepared, console: Console) -> None:
    fitting = Fitting(recipe, run, prepared, console)
    steps = run.record.get("steps") or fitting.measure_steps()
    run.note(steps=steps, status="training")
    run.write_reproduce(recipe, steps)
    newest = newest_whole(run.checkpoints)
    module = fitting.module(steps, fresh=newest is None)
    trainer = fitting.trainer(steps)
    if newest is not None:
        console.print(f"resuming from step {int(newest.name[:8])} of {steps}")
    fitting.rewind(int(newest.name[:8]) if newest else 0)
    checkpoint = str(newest) if newest else None
    try:
        trainer.fit(module, fitting.datamodule(steps), ckpt_path=checkpoint, weights_only=True)
    finally:
        fitting.close()
    if trainer.is_global_zero:
        fitting.tell_waiting()
        _publish(recipe, run, prepared, module.deployed, fitting)
        run.note(status="trained", minutes=round(fitting.local.minutes, 2))


def _publish(
    recipe: Recipe, run: RunFolder, prepared: Prepared, network: torch.nn.Module, fitting: Fitting
) -> None:
    cohort = prepared.cohort
    seen = [cohort.case(case) for case in (*prepared.labelled, *prepared.unlabelled)]
    patients = {case.patient for case in seen}
    patients |= seen_by_encoder(run, cohort.name, {case.patient for case in cohort.cases})
    if pretrains(recipe):
        publish_encoder(recipe, run, prepared.plan, cohort.name, patients, network)
        return
    save_bundle(
        run.model,
        network,
        recipe.network,
        recipe.fusion,
        prepared.plan,
        cohort.labels,
        cohort.name,
        provenance={
            "split": prepared.split.hash,
            "fold": recipe.fold,
            "seed": recipe.seed,
            "run": recipe.run_id,
            "git": run.record.get("git"),
            "steps": run.record["steps"],
        },
        patients=patients,
        flip_axes=fitting.flip_axes,
        missing_modalities=recipe.augmentation.modality_dropout_probability > 0
        or any(len(case.images) < len(cohort.modalities) for case in seen),
    )
