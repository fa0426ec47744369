"""``medseg preprocess``: fills the store that a training of the same cohort and plan reads."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from medseg.data.fingerprint import fingerprint
from medseg.data.machine import usable_cores
from medseg.data.plan import Plan, make_plan
from medseg.data.settings import DataSettings, PlanSettings, SplitSettings
from medseg.data.shard import Shard
from medseg.data.store import build_store
from medseg.data.store_shard import build_shard
from medseg.data.trainable import open_for_training
from medseg.errors import UserError


def preprocess(
    fold: int, workers: int, shard: str | None, data: DataSettings, split: SplitSettings, plan: PlanSettings
) -> None:
    """Preprocesses the training and validation cases of ``fold``; what is there already is kept.

    Raises:
        UserError: a share is asked for without the plan that all shares must have.
    """
    share = None if shard is None else Shard.read(shard)
    if share is not None and plan.file is None:
        fix = "make one by `medseg plan`, and give every share plan.file=plan.yaml"
        raise UserError("shard", "all shares must have one plan", fix)
    cohort, dealt = open_for_training(data, split)
    train = dealt.cases(cohort, fold, "train")
    cases = (*train, *dealt.cases(cohort, fold, "validation"))
    workers = workers or usable_cores()
    if share is not None and plan.file is not None:
        mine = share.among(cases)
        made = build_shard(cohort, mine, Plan.load(Path(plan.file)), data.cache_folder, workers)
        _say(f"{made} cases made, {len(mine) - made} were there: share {shard} of {len(cases)} cases")
        return
    decided = make_plan(fingerprint(cohort, train, workers), cohort.labels, plan)
    labelled = [case.id for case in cases if case.labelled]
    store = build_store(cohort, cases, decided, data.cache_folder, workers, labelled)
    _say(f"{len(store.ids)} cases in {store.folder}")


def _say(line: str) -> None:
    Console(highlight=False, markup=False, soft_wrap=True).print(line)
