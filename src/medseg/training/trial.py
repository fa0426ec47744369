"""One batch of a training on made-up patches: how long a step takes and what memory it needs."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any, cast

import torch

from medseg.contracts import Batch, Labels
from medseg.data.fingerprint import Fingerprint, fingerprint
from medseg.data.plan import Plan, make_plan
from medseg.data.trainable import open_for_training, workers_for
from medseg.files import value_hash
from medseg.targets import constants
from medseg.training.budget import SHARE, seconds_per_step, steps_for
from medseg.training.console import open_console
from medseg.training.estimate import Estimate
from medseg.training.fitting import Fitting
from medseg.training.parallel import device_of, part_of_batch
from medseg.training.preparation import Prepared, fit_network
from medseg.training.recipe import Recipe
from medseg.training.run_folder import RunFolder

COUNTS = (1, 2)
"""Steps before the clock is started, and those that are timed."""


def estimate(recipe: Recipe, folder: Path) -> Estimate:
    """Plans as the training will, and runs a few steps; nothing of it is left but what is in ``folder``.

    Args:
        recipe: the training.
        folder: for a temporary run, and for fingerprints that other trials of the same cohort take.

    Raises:
        UserError: the cohort, the plan or the network cannot be used.
    """
    if recipe.training.threads is not None:
        torch.set_num_threads(recipe.training.threads)
    run = RunFolder(folder / f"trial-{recipe.run_id}")
    cohort, split = open_for_training(recipe.data, recipe.split)
    cohort = split.blind(cohort, recipe.fold)
    cases = tuple(case for case in split.cases(cohort, recipe.fold, "train") if case.labelled)
    kept = folder / f"fingerprint-{value_hash([recipe.data, recipe.split, recipe.fold])}.json"
    if not kept.exists():
        fingerprint(cohort, cases, workers_for(cases)).save(kept)
    found = Fingerprint.load(kept)
    plan = make_plan(found, cohort.labels, fit_network(recipe.plan, recipe.network))
    run.note(class_voxels=found.class_voxels())
    prepared = Prepared(cohort, split, plan, cast(Any, None), (), (), ())
    fitting = Fitting(recipe, run, prepared, open_console(leads=False))
    network, objective = fitting.network_and_objective()
    training, device = recipe.training, device_of(recipe.training.accelerator)
    size = part_of_batch("plan.batch_size", plan.batch_size, training)
    batches = [_batches(recipe, plan, cohort.labels, size)]
    seconds = seconds_per_step(
        network, objective, recipe.optimizer, batches, fitting.precision, training.accumulate, device, COUNTS
    )
    steps = training.steps or steps_for(training.minutes or 0.0, seconds, training.epoch_steps)
    hours = seconds * steps / SHARE / 3600
    return Estimate(
        seconds, steps, hours, _memory_gb(device), device.type, tuple(plan.patch_size), plan.batch_size
    )


def _batches(recipe: Recipe, plan: Plan, labels: Labels, size: int) -> dict[str, Batch]:
    """Noise of the plan's shape; every class is a part of each patch."""
    generator = torch.Generator().manual_seed(recipe.seed)
    modalities = len(plan.modalities)
    codes = torch.tensor([0, *sorted(set(labels.code_of.values()))], dtype=torch.uint8)
    unlabelled = recipe.training.unlabelled_batch_size or plan.batch_size
    sizes = {"labelled": size, "unlabelled": part_of_batch("training", unlabelled, recipe.training)}
    found = {}
    for stream in constants(recipe.objective["_target_"])["STREAMS"]:
        count = sizes[stream]
        image = torch.randn(count, modalities * plan.slices, *plan.patch_size, generator=generator)
        bands = (torch.arange(plan.patch_size[0]) * len(codes)) // plan.patch_size[0]
        band = codes[bands].reshape(1, 1, -1, *[1] * (plan.spatial_dims - 1))
        label = band.expand(count, 1, *plan.patch_size).clone() if stream == "labelled" else None
        present = torch.ones(count, modalities, dtype=torch.bool)
        index = torch.zeros(count, 2, dtype=torch.int64)
        found[stream] = Batch(image, label, present, index, ["trial"] * count)
    return found


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**30 if sys.platform == "darwin" else 2**20)
