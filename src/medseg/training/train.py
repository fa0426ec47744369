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
from medseg.training.ending import ending, ending_of_ranks
from medseg.training.fitting import Fitting
from medseg.training.group import Group, joined
from medseg.training.launch import run_ranks
from medseg.training.parallel import device_of, refuse_devices
from medseg.training.preparation import Prepared, prepare
from medseg.training.pretraining import pretrains, publish_encoder, seen_by_encoder
from medseg.training.ranks import ranks_here
from medseg.training.recipe import Recipe
from medseg.training.run_folder import RunFolder
from medseg.training.sharding import whole


def train(**choices: Any) -> Path:
    """Trains, predicts the validation cases, scores them and writes the report.

    With ``training.devices`` above 1 it starts a process for each, unless torchrun or srun has done so.

    Args:
        choices: the fields of `medseg.training.recipe.Recipe`.

    Returns:
        The run's folder.

    Raises:
        UserError: bad input, or a process that failed or died; the run's folder then holds what was done so
            far and nothing half written.
    """
    recipe = Recipe(**choices)
    training = recipe.training
    refuse_devices(training, device_of(training.accelerator).type)
    if ranks_here(training.devices, training.num_nodes) is None:
        with ending_of_ranks(RunFolder(recipe.folder)):
            run_ranks(recipe, training.devices)
    else:
        train_rank(recipe)
    return recipe.folder


def train_rank(recipe: Recipe) -> None:
    """What one of the processes does; rank zero prepares, writes and tells, and all compute."""
    training = recipe.training
    ranks = ranks_here(training.devices, training.num_nodes)
    assert ranks is not None
    run, console = RunFolder(recipe.folder, ranks.leads), open_console(ranks.leads)
    quieten()
    with ending(run), joined(ranks, device_of(training.accelerator).type) as group:
        try:
            if group.from_zero("finished", lambda: _begin(recipe, run, console)):
                return
            prepared = _prepare(recipe, run, console, group)
            if not group.from_zero("trained", run.model.is_dir):
                _fit(recipe, run, prepared, console, group)
            _report(recipe, run, prepared, console, group)
        finally:
            run.release()


def _begin(recipe: Recipe, run: RunFolder, console: Console) -> bool:
    """Takes the folder; whether there is nothing left to do."""
    run.claim()
    run.begin(recipe)
    finished = run.record.get("status") == "finished"
    if finished:
        console.print(f"{run.path} is finished already; see report.html there", soft_wrap=True)
    else:
        console.print(f"run {run.path}", soft_wrap=True)
    return finished


def _prepare(recipe: Recipe, run: RunFolder, console: Console, group: Group) -> Prepared:
    """Rank zero checks, plans and preprocesses; the others wait for it and read what it has left."""
    group.doing("preparation")
    own = max(1, torch.get_num_threads() // group.ranks.local_world)
    threads = group.from_zero("threads", lambda: recipe.training.threads or run.record.get("threads") or own)
    # Sums over other numbers of threads are other bits, so a run keeps the number that it began with.
    torch.set_num_threads(threads)
    run.note(threads=threads)
    if group.leads:
        prepared = prepare(recipe, run, console)
        group.from_zero("store", lambda: str(prepared.store.folder))
        return prepared
    return prepare(recipe, run, console, Path(group.from_zero("store", str)))


def _report(recipe: Recipe, run: RunFolder, prepared: Prepared, console: Console, group: Group) -> None:
    """With scores of the validation cases, where there is something to score."""
    if pretrains(recipe):
        report = write_report(run.path, settings=recipe.evaluation) if group.leads else None
    else:
        report = assess(
            run,
            prepared.cohort,
            prepared.validation,
            "validation",
            recipe.inference,
            recipe.evaluation,
            console,
            group=group,
        )
    run.note(status="finished")
    console.print(f"report {report}", soft_wrap=True)
    if pretrains(recipe):
        console.print(f"to start from this encoder: finetuning.pretrained={run.path}", soft_wrap=True)


def _fit(recipe: Recipe, run: RunFolder, prepared: Prepared, console: Console, group: Group) -> None:
    fitting = Fitting(recipe, run, prepared, console, group)
    steps = group.from_zero("steps", lambda: run.record.get("steps") or fitting.measure_steps())
    newest = group.from_zero("newest", lambda: _newest(run, steps, console, group))
    if group.leads:
        run.note(steps=steps, status="training", ranks=group.world)
        run.write_reproduce(recipe, steps)
    module = fitting.module(steps, fresh=newest is None)
    trainer = fitting.trainer(steps)
    fitting.rewind(int(Path(newest).name[:8]) if newest else 0)
    try:
        trainer.fit(module, fitting.datamodule(steps), ckpt_path=newest, weights_only=True)
    finally:
        fitting.close()
    network = whole(module)
    if group.leads:
        fitting.tell_waiting()
        fitting.tell_costs()
        _publish(recipe, run, prepared, network, fitting)
        run.note(status="trained")
    group.from_zero("published", lambda: True)


def _newest(run: RunFolder, steps: int, console: Console, group: Group) -> str | None:
    """The checkpoint to go on from."""
    newest = newest_whole(run.checkpoints)
    if newest is None:
        return None
    console.print(f"resuming from step {int(newest.name[:8])} of {steps}")
    before = run.record.get("ranks", 1)
    if before != group.world:
        line = f"the ranks were {before} and are {group.world}: the same samples, sums of other last bits"
        console.print(line)
    return str(newest)


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
