"""``medseg evaluate study=``: the folds of a study as one result, and as one model."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from rich.console import Console

from medseg.data.splits import TEST, UNLABELLED, Split
from medseg.errors import UserError
from medseg.evaluation.cases import Row, write_cases
from medseg.evaluation.cross_validation import Folds, fold_table, write_page
from medseg.evaluation.model_card import write_ensemble_card
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import summarise
from medseg.files import write_json
from medseg.inference.ensemble_bundle import save_ensemble
from medseg.training.console import open_console
from medseg.training.method_names import Settings, method_settings, name_of, varied
from medseg.training.scored_runs import ScoredRun, find_runs, read_runs, refuse_twins, refuse_unlike

PART = "validation"
OUT_OF_FOLD = "out of fold"
FOLDER = "cross-validation"


@dataclass(frozen=True)
class Method:
    """The runs of one method: every fold, with one seed or several."""

    name: str
    runs: tuple[ScoredRun, ...]
    split: Split


def evaluate_study(
    study: Path, vary: Sequence[str] | None, output: Path | None, console: Console | None = None
) -> list[Path]:
    """Pools the validation cases of all folds: each was scored by models that did not see its patient.

    Below ``output``, or ``STUDY/cross-validation``, are written ``cases.csv``, ``summary.json``,
    ``report.html`` and ``model``, the ensemble of all its runs with its card; of several methods, in a
    folder each.

    Args:
        study: the folder of the runs.
        vary: the settings in which methods differ; ``None`` where there is one method.
        output: where to write.
        console: what a person watches.

    Returns:
        The pages.

    Raises:
        UserError: folds are missing, or runs differ in more than fold and seed and ``vary`` does not say so.
    """
    console = console or open_console()
    runs, left_out = read_runs(find_runs([study]), PART)
    refuse_unlike(runs, PART, sorted(set.intersection(*({row.metric for row in run.rows} for run in runs))))
    for line in left_out:
        console.print(f"left out: {line}", markup=False, highlight=False, soft_wrap=True)
    methods = _methods(runs, vary)
    folder = output or study / FOLDER
    pages = []
    for method in methods:
        target = folder if len(methods) == 1 else folder / _folder_name(method.name)
        pages.append(_write(method, target, left_out, console))
        console.print(f"report {pages[-1]}", markup=False, highlight=False, soft_wrap=True)
    return pages


def _methods(runs: Sequence[ScoredRun], vary: Sequence[str] | None) -> list[Method]:
    configs, overrides = [run.config for run in runs], [run.overrides for run in runs]
    settings, pooled = method_settings(configs, overrides, vary)
    if pooled or (vary is None and len(set(settings)) > 1):
        names = pooled or varied(configs, overrides)
        fix = f"give vary=[{','.join([*(vary or ()), *names])}] for a table of each, or use medseg compare"
        raise UserError("study", f"its runs differ in {', '.join(names)}, not in fold and seed alone", fix)
    refuse_twins([name_of(own) for own in settings], runs)
    groups: dict[Settings, list[ScoredRun]] = defaultdict(list)
    for own, run in sorted(zip(settings, runs, strict=True), key=lambda pair: pair[0]):
        groups[own].append(run)
    methods = [
        Method(name_of(own), tuple(group), Split.load(group[0].path / "split.json"))
        for own, group in groups.items()
    ]
    for method in methods:
        _refuse_gaps(method)
    return methods


def _refuse_gaps(method: Method) -> None:
    """Every fold, and so every patient, must have been scored."""
    there = {int(run.record["fold"]) for run in method.runs}
    scored = {row.patient for run in method.runs for row in run.rows}
    dealt = {fold for fold in method.split.patients.values() if fold not in (TEST, UNLABELLED)}
    if missing := sorted(int(fold) for fold in dealt if fold not in there):
        told = ", ".join(map(str, missing))
        fix = f"train them: medseg train -m ... fold={told.replace(' ', '')}"
        raise UserError("study", f"{method.name}: fold {told} is missing", fix)
    forgotten = [p for p, fold in method.split.patients.items() if fold in dealt and p not in scored]
    if forgotten:
        problem = f"{method.name}: {len(forgotten)} patients of its folds were not scored"
        raise UserError("study", problem, "run `medseg evaluate run=...` for each run again")


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "method"


def _write(method: Method, folder: Path, left_out: Sequence[str], console: Console) -> Path:
    settings = _settings(method)
    rows = [
        replace(row, part=OUT_OF_FOLD) for row in averaged(row for run in method.runs for row in run.rows)
    ]
    by_fold = {
        fold: averaged(row for run in method.runs if run.record["fold"] == fold for row in run.rows)
        for fold in sorted({int(run.record["fold"]) for run in method.runs})
    }
    pooled = summarise(rows, settings)[OUT_OF_FOLD]
    folds = {fold: summarise(own, settings)[PART] for fold, own in by_fold.items()}
    write_cases(folder / "cases.csv", rows)
    summaries = {OUT_OF_FOLD: pooled, **{f"fold {fold}": summary for fold, summary in folds.items()}}
    write_json(folder / "summary.json", {name: summary.to_json() for name, summary in summaries.items()})
    save_ensemble([run.path / "model" for run in method.runs], folder / "model", provenance=_origin(method))
    facts = _facts(method)
    write_ensemble_card(folder / "model", method.runs[0].path, facts, rows, settings)
    found = Folds(method.name, pooled, folds, tuple(rows), settings, facts, tuple(left_out))
    console.print(fold_table(found))
    return write_page(found, folder)


def _settings(method: Method) -> EvaluationSettings:
    """As the runs were scored."""
    kept = method.runs[0].config["evaluation"]
    known = {field.name for field in fields(EvaluationSettings)}
    return EvaluationSettings(**{name: value for name, value in kept.items() if name in known})


def _origin(method: Method) -> dict[str, object]:
    runs = [str(run.record["id"]) for run in method.runs]
    return {
        "study": method.runs[0].record["name"],
        "runs": runs,
        "split": method.runs[0].record["split_hash"],
    }


def _facts(method: Method) -> list[tuple[str, str]]:
    runs, first = method.runs, method.runs[0]
    seeds = sorted({int(run.record["seed"]) for run in runs})
    minutes = [run.costs.train_minutes for run in runs]
    known = [value for value in minutes if value is not None]
    found = [
        ("Cohort", str(first.record.get("cohort"))),
        ("Method", method.name if method.name != "all runs" else ""),
        ("Runs", f"{len(runs)}; seeds {', '.join(map(str, seeds))}"),
        ("Split", str(first.record.get("split_hash"))[:12]),
        ("Training", f"{math.fsum(known):.3g} min in all" if len(known) == len(runs) else ""),
    ]
    return [(name, value) for name, value in found if value]


def averaged(rows: Iterable[Row]) -> list[Row]:
    """One row per case, label and metric: its mean over the seeds that give a number."""
    every: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        every.setdefault((row.case, row.label, row.metric), []).append(row)
    return [_mean(same) for same in every.values()]


def _mean(rows: Sequence[Row]) -> Row:
    known = [row for row in rows if row.status != "nan"]
    if not known:
        return rows[0]
    mean = math.fsum(row.value for row in known) / len(known)
    missed = any(row.status == "missed" for row in known)
    return replace(known[0], value=mean, status="missed" if missed else "ok")
