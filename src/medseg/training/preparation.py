"""From a recipe to data that is ready: cohort, verification, split, plan, store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from medseg.data.cohort import Case, Cohort
from medseg.data.fingerprint import fingerprint
from medseg.data.plan import Plan, make_plan
from medseg.data.settings import PlanSettings
from medseg.data.splits import Split
from medseg.data.store import Store, build_store
from medseg.data.trainable import open_for_training, workers_for
from medseg.data.verify import verify
from medseg.errors import Problems, UserError
from medseg.targets import constants
from medseg.training.pretraining import pretrains, refuse_encoder
from medseg.training.probes import CASES
from medseg.training.recipe import Recipe
from medseg.training.run_folder import RunFolder


@dataclass(frozen=True)
class Prepared:
    """Data ready for training.

    Attributes:
        cohort: without the labels of test patients and of training patients beyond the label budget.
        split: who is trained on, validated on, tested on.
        plan: as it is in the run's folder.
        store: the preprocessed cases of training and validation.
        labelled: ids of the training cases that have a label.
        unlabelled: ids of the training cases that have none, or whose label a pretraining does not read.
        validation: the validation cases of the fold.
        probed: ids of training cases whose labels a pretraining's probes look at, of as many patients.
    """

    cohort: Cohort
    split: Split
    plan: Plan
    store: Store
    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    validation: tuple[Case, ...]
    probed: tuple[str, ...] = ()


def prepare(recipe: Recipe, run: RunFolder, console: Console, store: Path | None = None) -> Prepared:
    """Opens, checks, splits, plans and preprocesses; what the run's folder already has is taken from it.

    Args:
        recipe: what to prepare for.
        run: where split and plan are kept.
        console: for warnings.
        store: the folder of the store that rank zero has built; then this is another rank, which checks
            nothing again, and builds a store only where it has a cache of its own.

    Raises:
        Problems: the cohort has errors that a training may not start with.
        UserError: the fold has no labelled training case, or no validation case.
    """
    cohort, split = open_for_training(recipe.data, recipe.split, run.split)
    cohort = split.blind(cohort, recipe.fold)
    if recipe.training.verify and store is None:
        _verify(cohort, split, console)
    if not run.split.exists():
        split.save(run.split)
    train = split.cases(cohort, recipe.fold, "train")
    if "unlabelled" not in constants(recipe.objective["_target_"])["STREAMS"]:
        train = tuple(case for case in train if case.labelled)
    validation = split.cases(cohort, recipe.fold, "validation")
    probed: dict[str, Case] = {}
    if pretrains(recipe):
        probed = _probed(recipe, train)
        cohort = cohort.without_labels([case.id for case in cohort.cases])
        train, validation = (tuple(cohort.case(c.id) for c in part) for part in (train, validation))
    labelled = tuple(case.id for case in train if case.labelled)
    _refuse_empty(recipe, train, labelled, validation)
    plan = _plan(recipe, run, cohort, train)
    held_out = {*split.test_patients, *(case.patient for case in validation)}
    refuse_encoder(recipe, run, plan, cohort.name, held_out)
    opened = _open_store(store) or build_store(
        cohort,
        [probed.get(case.id, case) for case in (*train, *validation)],
        plan,
        cache=recipe.data.cache_folder,
        workers=workers_for((*train, *validation)),
        with_labels=[*probed, *(c.id for c in (*train, *validation) if c.labelled)],
    )
    unlabelled = tuple(case.id for case in train if not case.labelled)
    counts = {"train": len(labelled), "unlabelled": len(unlabelled), "validation": len(validation)}
    run.note(cases=counts, cohort=cohort.name, split_hash=split.hash, store=opened.key)
    return Prepared(cohort, split, plan, opened, labelled, unlabelled, validation, tuple(probed))


def _open_store(folder: Path | None) -> Store | None:
    return Store.open(folder) if folder is not None and folder.is_dir() else None


def _probed(recipe: Recipe, train: Sequence[Case]) -> dict[str, Case]:
    """A labelled case each of the first few training patients; none where one could not ask another."""
    first: dict[str, Case] = {}
    for case in train:
        if case.labelled:
            first.setdefault(case.patient, case)
    chosen = [first[patient] for patient in sorted(first)[:CASES]]
    wanted = recipe.objective.get("probe_epochs", 0) and len(chosen) > 1
    return {case.id: case for case in chosen} if wanted else {}


def _refuse_empty(
    recipe: Recipe, train: Sequence[Case], labelled: Sequence[str], validation: Sequence[Case]
) -> None:
    if pretrains(recipe):
        if not train:
            raise UserError("split", f"fold {recipe.fold} has no training case", "change split.folds")
        return
    for name, cases in (("train", labelled), ("validation", validation)):
        if not cases:
            problem = f"fold {recipe.fold} has no labelled {name} case"
            raise UserError("split", problem, "add labels, or change split.folds")
    if "unlabelled" in constants(recipe.objective["_target_"])["STREAMS"] and len(labelled) == len(train):
        problem = f"learns from unlabelled cases too, and all {len(train)} of fold {recipe.fold} have labels"
        fix = "give split.labelled=N so that N patients keep theirs, or objective=supervised"
        raise UserError("objective", problem, fix)


def _verify(cohort: Cohort, split: Split, console: Console) -> None:
    findings = verify(cohort, split)
    errors = [finding for finding in findings if finding.severity == "error"]
    for finding in findings:
        if finding.severity == "warning":
            console.print(finding.line(), markup=False, highlight=False, soft_wrap=True)
    if errors:
        raise Problems(
            [*(finding.line() for finding in errors), "see `medseg check`; training.verify=false skips this"]
        )


def _plan(recipe: Recipe, run: RunFolder, cohort: Cohort, cases: tuple[Case, ...]) -> Plan:
    """The run's own plan, or a new one, of the training cases alone, that is kept from now on."""
    if run.plan.exists():
        return Plan.load(run.plan)
    settings = fit_network(recipe.plan, recipe.network)
    found = fingerprint(cohort, cases, workers_for(cases))
    plan = make_plan(found, cohort.labels, settings)
    # a plan of a file knows nothing of this network
    plan = replace(plan, multiple=_multiple(plan.multiple, recipe.network))
    _refuse_plan(plan, recipe.network)
    run.note(class_voxels=found.class_voxels())
    plan.save(run.plan)
    return plan


def fit_network(settings: PlanSettings, network: Mapping[str, Any]) -> PlanSettings:
    """The plan settings with what the architecture needs: its only dimensions, a multiple for its patch."""
    facts = constants(network["_target_"])
    dims = facts.get("DIMS", (2, 3))
    only = dims[0] if settings.spatial_dims == "auto" and len(dims) == 1 else settings.spatial_dims
    return replace(settings, spatial_dims=only, multiple=_multiple(settings.multiple, network))


def _multiple(asked: int, network: Mapping[str, Any]) -> int:
    """What each axis of a patch must be a multiple of: as asked, and as the architecture needs."""
    return math.lcm(asked, constants(network["_target_"]).get("DIVISOR", 1))


def _refuse_plan(plan: Plan, network: Mapping[str, Any]) -> None:
    """What a plan file or the cohort itself has decided against the architecture."""
    facts, name = constants(network["_target_"]), network["_target_"].rpartition(".")[2]
    if plan.spatial_dims not in facts.get("DIMS", (2, 3)):
        fix = "choose another network, or plan=2d for slices of volumes"
        raise UserError("network", f"{name} does not exist in {plan.spatial_dims}D", fix)
    multiple = facts.get("DIVISOR", 1)
    if any(n % multiple for n in plan.patch_size):
        problem = f"{name} needs patches of multiples of {multiple}, the plan has {list(plan.patch_size)}"
        raise UserError("plan.patch_size", problem, f"give plan.multiple={multiple} when the plan is made")
