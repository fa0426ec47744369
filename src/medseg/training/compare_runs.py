"""``medseg compare``: finished runs as methods, held against one another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.errors import UserError
from medseg.evaluation.bootstrap import interval_of_mean
from medseg.evaluation.cases import read_cases
from medseg.evaluation.compare import compare
from medseg.evaluation.comparison import Comparison, Rules
from medseg.evaluation.leaderboard import About, write_leaderboard
from medseg.evaluation.leaderboard_tables import RaterLine
from medseg.evaluation.methods import Cell, Method, grouped, mean_of_labels
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.raters import rater_rows
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import Receipt
from medseg.evaluation.table import plural
from medseg.training.method_names import Settings, method_settings, name_of, reference_of, unknown_to_some
from medseg.training.scored_runs import (
    ScoredRun,
    find_runs,
    mean_costs,
    read_runs,
    refuse_twins,
    refuse_unlike,
)


@dataclass(frozen=True)
class Asked:
    """What ``medseg compare`` was asked for; see ``conf/compare.yaml``."""

    folders: Sequence[Path]
    part: str = "validation"
    metrics: Sequence[str] = ("dice", "hd95")
    vary: Sequence[str] | None = None
    against: str | None = None
    raters: str | None = "auto"
    rules: Rules = Rules()  # noqa: RUF009 (frozen)


@dataclass(frozen=True)
class Compared:
    """The comparison and what a page says beside it."""

    comparison: Comparison
    about: About


def compare_runs(asked: Asked, command: str = "") -> Compared:
    """Groups the runs below the folders into methods and compares them.

    Raises:
        UserError: there is nothing to compare, or a name in the question is unknown.
        Problems: the runs do not belong in one table, with the reasons.
    """
    if unknown := [metric for metric in asked.metrics if metric not in METRICS]:
        raise UserError("metrics", f"there is no {unknown[0]!r}", f"choose from {', '.join(METRICS)}")
    if vague := [metric for metric in asked.metrics if METRICS[metric].better not in ("higher", "lower")]:
        problem = f"no {vague[0]} is better than another"
        raise UserError("metrics", problem, "choose metrics of which more or less is better")
    runs, left_out = read_runs(find_runs(asked.folders), asked.part)
    refuse_unlike(runs, asked.part, asked.metrics)
    settings, pooled = method_settings([r.config for r in runs], [r.overrides for r in runs], asked.vary)
    names = [name_of(own) for own in settings]
    if not pooled:
        refuse_twins(names, runs)
    methods = _methods(runs, settings)
    notes = [f"Left out: {line}." for line in left_out]
    if pooled:
        notes.append(
            f"Runs of a method also differ in {', '.join(pooled)}; that counts as noise of training."
        )
    if unknown := unknown_to_some([r.config for r in runs], [r.overrides for r in runs]):
        notes.append(f"Made before there were some settings, which count as equal: {', '.join(unknown)}.")
    found = compare(methods, asked.metrics, asked.rules, _reference(methods, asked.against))
    rater, why = _rater(asked, runs, methods)
    notes += [why] if why else []
    about = About(
        title=", ".join(dict.fromkeys(str(run.record.get("name")) for run in runs)),
        part=asked.part,
        facts=_facts(runs, found, asked),
        receipts=_receipts(runs[0], asked),
        notes=notes,
        rater=rater,
        missing=_missing(runs, names, asked),
        command=command,
    )
    return Compared(found, about)


def write_comparison(compared: Compared, folder: Path) -> list[Path]:
    """Writes the page and its tables."""
    return write_leaderboard(compared.comparison, compared.about, folder)


def _methods(runs: Sequence[ScoredRun], settings: Sequence[Settings]) -> list[Method]:
    groups: dict[Settings, list[ScoredRun]] = {}
    for own, run in sorted(zip(settings, runs, strict=True), key=lambda pair: pair[0]):
        groups.setdefault(own, []).append(run)
    methods = [
        Method(name_of(own), own, tuple(run.training for run in group), mean_costs(group))
        for own, group in groups.items()
    ]
    scored = [method.cases for method in methods]
    if not set.intersection(*scored):
        raise UserError("runs", "no case was scored by every method", "give runs of the same folds")
    return methods


def _reference(methods: Sequence[Method], against: str | None) -> Callable[[Method], Method | None] | None:
    if against is None:
        return None
    by_settings = {method.settings: method for method in methods}
    found = reference_of([method.settings for method in methods], against)

    def reference(method: Method) -> Method | None:
        other = found.get(method.settings)
        return None if other is None else by_settings[other]

    return reference


def _facts(runs: Sequence[ScoredRun], found: Comparison, asked: Asked) -> list[tuple[str, str]]:
    folds = sorted({int(run.record["fold"]) for run in runs})
    seeds = sorted({int(run.record["seed"]) for run in runs})
    medseg = sorted({str(run.record.get("versions", {}).get("medseg")) for run in runs})
    return [
        ("Cohort", str(runs[0].record.get("cohort"))),
        ("Scored", f"{asked.part}: {plural(found.cases, 'case')} of {plural(found.patients, 'patient')}"),
        ("Methods", f"{len(found.methods)}, from {plural(len(runs), 'run')}"),
        ("Seeds and folds", f"seeds {_listed(seeds)}; folds {_listed(folds)}"),
        ("Split", str(runs[0].record.get("split_hash"))[:12]),
        ("Versions", ", ".join(f"medseg {version}" for version in medseg)),
    ]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _receipts(run: ScoredRun, asked: Asked) -> list[Receipt]:
    """As the runs were scored, not as they would be now."""
    found = run.record.get("results", {}).get(asked.part, {}).get("receipts", {})
    names = [field.name for field in fields(Receipt)]
    return [
        Receipt(**{name: str(found[metric].get(name, "")) for name in names})
        for metric in asked.metrics
        if metric in found
    ]


def _missing(runs: Sequence[ScoredRun], names: Sequence[str], asked: Asked) -> dict[str, dict[str, float]]:
    """The modalities that are there -> method -> mean of the first metric over the runs with a matrix."""
    values: dict[str, dict[str, dict[Cell, list[float]]]] = {}
    for run, name in zip(runs, names, strict=True):
        file = run.path / "missing" / f"{asked.part}.csv"
        for row in read_cases(file) if file.is_file() else []:
            if row.metric == asked.metrics[0] and row.status != "nan":
                cells = values.setdefault(row.part, {}).setdefault(name, {})
                cells.setdefault((row.case, row.label), []).append(row.value)
    return {
        subset: {
            # First over the runs: a case that more runs scored counts no more than another.
            name: math.fsum(math.fsum(own) / len(own) for own in cells.values()) / len(cells)
            for name, cells in found.items()
        }
        for subset, found in values.items()
    }


def _rater(
    asked: Asked, runs: Sequence[ScoredRun], methods: Sequence[Method]
) -> tuple[RaterLine | None, str]:
    """The agreement of raters on the cases that are compared, or why there is none."""
    cases = set.intersection(*(method.cases for method in methods))
    if asked.raters is None:
        return None, ""
    if asked.raters != "auto":
        rows = [row for row in read_cases(Path(asked.raters)) if row.case in cases]
        if not rows:
            raise UserError(
                "raters", f"{asked.raters} has none of the cases compared", "score the same cases"
            )
        return _rater_line("other observer", rows, asked), ""
    config: Mapping[str, Any] = runs[0].config.get("data") or {}
    if not config.get("raters") and config.get("layout") != "table":
        return None, ""
    known = {field.name for field in fields(DataSettings)}
    try:
        cohort = open_cohort(DataSettings(**{k: v for k, v in config.items() if k in known}))
    except UserError as error:
        return None, f"No line of the raters: {error}."
    chosen = [case for case in cohort.cases if case.id in cases]
    scored = EvaluationSettings(
        metrics=list(asked.metrics),
        surface_tolerance_mm=float(runs[0].config["evaluation"]["surface_tolerance_mm"]),
    )
    rows = rater_rows(cohort, chosen, scored)
    others = {len(case.raters) for case in chosen}
    name = "second rater" if others == {2} else "raters"
    return (_rater_line(name, rows, asked), "") if rows else (None, "")


def _rater_line(name: str, rows: Sequence[Any], asked: Asked) -> RaterLine:
    found = {}
    for metric in asked.metrics:
        own = [row for row in rows if row.metric == metric and row.status != "nan"]
        if own:
            values = {(row.case, row.label): row.value for row in own}
            labels = list(dict.fromkeys(row.label for row in own))
            groups = grouped(values, {row.case: row.patient for row in own}, labels)
            rules = asked.rules
            interval = interval_of_mean(groups, rules.resamples, rules.confidence, rules.seed)
            found[metric] = (mean_of_labels(values.items(), labels), interval)
    return RaterLine(name, found, len({row.case for row in rows}))


def print_comparison(compared: Compared, console: Console) -> None:
    """The leaderboard and the verdicts in the terminal."""
    from rich.text import Text

    from medseg.evaluation.leaderboard_terminal import board, verdicts

    console.print(board(compared.comparison, compared.about.rater))
    for line in verdicts(compared.comparison):
        console.print(Text(line), soft_wrap=True)
    for line in compared.about.notes:
        console.print(Text(line), soft_wrap=True)
