"""``medseg preprocess``: fills the store that a training of the same cohort and plan reads."""

from __future__ import annotations

import os

from rich.console import Console

from medseg.data.fingerprint import fingerprint
from medseg.data.plan import make_plan
from medseg.data.settings import DataSettings, PlanSettings, SplitSettings
from medseg.data.source import open_cohort
from medseg.data.splits import cohort_for_training, make_split
from medseg.data.store import build_store


def preprocess(fold: int, workers: int, data: DataSettings, split: SplitSettings, plan: PlanSettings) -> None:
    """Preprocesses the training and validation cases of ``fold``; what is there already is kept."""
    whole = open_cohort(data)
    made = make_split(whole, split)
    cohort = cohort_for_training(whole, made)
    cases = (*made.cases(cohort, fold, "train"), *made.cases(cohort, fold, "validation"))
    workers = workers or os.cpu_count() or 1
    decided = make_plan(fingerprint(cohort, cases, workers), cohort.labels, plan)
    labelled = [case.id for case in cases if case.labelled]
    store = build_store(cohort, cases, decided, data.cache_folder, workers, labelled)
    Console(highlight=False, markup=False, soft_wrap=True).print(f"{len(store.ids)} cases in {store.folder}")
