"""``medseg preprocess``: fills the store that a training of the same cohort and plan reads."""

from __future__ import annotations

from rich.console import Console

from medseg.data.fingerprint import fingerprint
from medseg.data.machine import usable_cores
from medseg.data.plan import make_plan
from medseg.data.settings import DataSettings, PlanSettings, SplitSettings
from medseg.data.store import build_store
from medseg.data.trainable import open_for_training


def preprocess(fold: int, workers: int, data: DataSettings, split: SplitSettings, plan: PlanSettings) -> None:
    """Preprocesses the training and validation cases of ``fold``; what is there already is kept."""
    cohort, made = open_for_training(data, split)
    train = made.cases(cohort, fold, "train")
    cases = (*train, *made.cases(cohort, fold, "validation"))
    workers = workers or usable_cores()
    decided = make_plan(fingerprint(cohort, train, workers), cohort.labels, plan)
    labelled = [case.id for case in cases if case.labelled]
    store = build_store(cohort, cases, decided, data.cache_folder, workers, labelled)
    Console(highlight=False, markup=False, soft_wrap=True).print(f"{len(store.ids)} cases in {store.folder}")
