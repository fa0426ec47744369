"""``medseg plan``: what medseg decides for a cohort, as a file that may be edited."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from medseg.data.fingerprint import fingerprint
from medseg.data.plan import make_plan
from medseg.data.settings import DataSettings, PlanSettings, SplitSettings
from medseg.data.trainable import open_for_training, workers_for


def plan(output: str, fold: int, data: DataSettings, split: SplitSettings, plan: PlanSettings) -> None:
    """Measures the training cases of ``fold`` and writes the plan to ``output``."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    cohort, made = open_for_training(data, split)
    cases = made.cases(cohort, fold, "train")
    decided = make_plan(fingerprint(cohort, cases, workers_for(cases)), cohort.labels, plan)
    decided.save(Path(output))
    for decision, reason in decided.reasons.items():
        value = getattr(decided, decision, None)
        console.print(f"{decision}: {'' if value is None else f'{value}, '}{reason}")
    console.print(f"written to {output}; use it with plan.file={output}")
