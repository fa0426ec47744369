"""From a recipe to data that is ready: cohort, verification, split, plan, store."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from medseg.data.cohort import Case, Cohort
from medseg.data.fingerprint import fingerprint
from medseg.data.plan import Plan, make_plan
from medseg.data.source import open_cohort
from medseg.data.splits import Split, cohort_for_training, make_split
from medseg.data.store import Store, build_store
from medseg.data.verify import verify
from medseg.errors import Problems, UserError
from medseg.training.recipe import Recipe
from medseg.training.run_folder import RunFolder


@dataclass(frozen=True)
class Prepared:
    """Data ready for training.

    Attributes:
        cohort: without the labels of test patients.
        split: who is trained on, validated on, tested on.
        plan: as it is in the run's folder.
        store: the preprocessed cases of training and validation.
        labelled: ids of the training cases that have a label.
        unlabelled: ids of the training cases that have none.
        validation: the validation cases of the fold.
    """

    cohort: Cohort
    split: Split
    plan: Plan
    store: Store
    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    validation: tuple[Case, ...]


def prepare(recipe: Recipe, run: RunFolder, console: Console) -> Prepared:
    """Opens, checks, splits, plans and preprocesses; what the run's folder already has is taken from it.

    Raises:
        Problems: the cohort has errors that a training may not start with.
        UserError: the fold has no labelled training case, or no validation case.
    """
    whole = open_cohort(recipe.data)
    split = _split(recipe, run, whole)
    cohort = cohort_for_training(whole, split)
    if recipe.training.verify:
        _verify(cohort, split, console)
    train = split.cases(cohort, recipe.fold, "train")
    validation = split.cases(cohort, recipe.fold, "validation")
    labelled = tuple(case.id for case in train if case.labelled)
    if not labelled:
        raise UserError(
            "split", f"fold {recipe.fold} has no labelled case to train on", "add labels or lower split.folds"
        )
    if not validation:
        raise UserError(
            "split", f"fold {recipe.fold} has no labelled case to validate on", "lower split.folds"
        )
    plan = _plan(recipe, run, cohort, (*train, *validation))
    cases = (*train, *validation)
    store = build_store(
        cohort,
        cases,
        plan,
        cache=recipe.data.cache_folder,
        workers=0,
        with_labels=[c.id for c in cases if c.labelled],
    )
    run.note(
        cases={
            "train": len(labelled),
            "unlabelled": len(train) - len(labelled),
            "validation": len(validation),
        },
        cohort=cohort.name,
        split_hash=split.hash,
        store=store.key,
    )
    return Prepared(
        cohort, split, plan, store, labelled, tuple(c.id for c in train if not c.labelled), validation
    )


def _split(recipe: Recipe, run: RunFolder, cohort: Cohort) -> Split:
    """The run's own split, or a new one that is kept from now on."""
    if run.split.exists():
        split = Split.load(run.split)
        split.validate(cohort)
        return split
    split = make_split(cohort, recipe.split)
    split.save(run.split)
    return split


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
    """The run's own plan, or a new one that is kept from now on."""
    if run.plan.exists():
        return Plan.load(run.plan)
    plan = make_plan(fingerprint(cohort, cases), cohort.labels, recipe.plan)
    plan.save(run.plan)
    return plan
