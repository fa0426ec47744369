"""The page of a comparison: ``leaderboard.html`` with its tables beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.evaluation import leaderboard_charts as charts
from medseg.evaluation import leaderboard_text as told
from medseg.evaluation import leaderboard_words as words
from medseg.evaluation.comparison import Comparison, Difference
from medseg.evaluation.leaderboard_tables import (
    RaterLine,
    comparisons_csv,
    leaderboard_csv,
    leaderboard_latex,
)
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.page import render
from medseg.evaluation.summary import Receipt
from medseg.evaluation.table import number
from medseg.files import write_text

FILES = (
    "leaderboard.html",
    "leaderboard.csv",
    "comparisons.csv",
    "leaderboard.tex",
    "leaderboard.md",
    "cases.svg",
)


@dataclass(frozen=True)
class About:
    """What the page says beside the comparison itself.

    Attributes:
        title: the studies' names.
        part: of the split.
        facts: lines of the header.
        receipts: what the metrics mean.
        notes: what was left out or pooled.
        rater: how well raters agree.
        missing: the modalities that are there -> method -> mean of the first metric.
        command: what made the page.
    """

    title: str
    part: str
    facts: Sequence[tuple[str, str]] = ()
    receipts: Sequence[Receipt] = ()
    notes: Sequence[str] = ()
    rater: RaterLine | None = None
    missing: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    command: str = ""


def write_leaderboard(comparison: Comparison, about: About, folder: Path) -> list[Path]:
    """Writes the page, two CSV tables, LaTeX, Markdown and the chart of all cases, each of them atomically.

    Returns:
        The paths, the page first.
    """
    values = page_values(comparison, about)
    texts = (
        render("leaderboard.html.j2", values),
        leaderboard_csv(comparison),
        comparisons_csv(comparison),
        leaderboard_latex(comparison, about.rater, about.part),
        render("leaderboard.md.j2", values, escape=False),
        charts.standalone(values["spreads"][0]) if values["spreads"] else "",
    )
    paths = [folder / name for name in FILES]
    for path, text in zip(paths, texts, strict=True):
        if text:
            write_text(path, text)
    return [path for path, text in zip(paths, texts, strict=True) if text]


def page_values(comparison: Comparison, about: About) -> dict[str, Any]:
    """What the template speaks of."""
    metrics = [METRICS[name] for name in comparison.metrics]
    marks = {name: _mark(about.rater, name) for name in comparison.metrics}
    against = {name: comparison.against[name] for name in comparison.metrics if comparison.against[name]}
    first = comparison.metrics[0]
    drawn = [charts.means_chart(comparison, name, marks[name]) for name in comparison.metrics[:2]]
    found = [charts.differences_chart(against.get(name, ()), comparison) for name in comparison.metrics[:2]]
    spread = [charts.cases_chart(comparison, name, marks[name]) for name in comparison.metrics[:2]]
    return {
        "title": about.title,
        "about": about,
        "comparison": comparison,
        "metrics": metrics,
        "headline": told.headline(comparison),
        "rows": [_row(comparison, name) for name in (method.name for method in comparison.methods)],
        "against": [(METRICS[name], [_cells(d, comparison) for d in rows]) for name, rows in against.items()],
        "pairs": [
            (METRICS[name], [_cells(d, comparison) for d in comparison.pairs[name]])
            for name in comparison.metrics
            if comparison.pairs[name]
        ],
        "matrix": _matrix(comparison, first),
        "means": [chart for chart in drawn if chart],
        "differences": [chart for chart in found if chart],
        "spreads": [chart for chart in spread if chart],
        "costs": charts.cost_charts(comparison),
        "labels": _labels(comparison),
        "rule": told.rule(comparison),
        "limits": told.limits(comparison, about.part),
        "signed": words.signed,
    }


def _mark(rater: RaterLine | None, metric: str) -> charts.Mark | None:
    if rater is None or metric not in rater.values:
        return None
    mean, unit = rater.values[metric][0], METRICS[metric].unit
    return mean, f"{rater.name} {number(mean, unit)}"


def _row(comparison: Comparison, name: str) -> dict[str, Any]:
    """A row of the leaderboard."""
    method = next(method for method in comparison.methods if method.name == name)
    first = comparison.metrics[0]
    own = comparison.standings[first][name]
    folds = sorted({training.fold for training in method.trainings})
    return {
        "name": name,
        "place": comparison.methods.index(method) + 1,
        "tone": f"s{comparison.methods.index(method) % 6}",
        "standings": [comparison.standings[metric][name] for metric in comparison.metrics],
        "winner": {metric for metric in comparison.metrics if comparison.winner(metric) == name},
        "seeds": words.seeds_told(own, METRICS[first].unit),
        "first": words.share(own.rank.first) if own.rank else "–",
        "rank": f"{own.rank.mean:.1f}" if own.rank else "–",
        "rank_span": "–".join(f"{bound:.0f}" for bound in own.rank.interval) if own.rank else "",
        "runs": f"{len(method.trainings)}",
        "runs_told": f"seeds {_numbers(method.seeds)}; folds {_numbers(folds)}",
        "costs": words.costs_told(method.costs),
    }


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _cells(difference: Difference, comparison: Comparison) -> dict[str, Any]:
    unit = METRICS[difference.metric].unit
    return {
        "method": difference.method,
        "reference": difference.reference,
        "mean": words.signed(difference.mean, unit),
        "span": words.signed_span(difference.interval, unit),
        "span_seeds": words.signed_span(difference.interval_seeds, unit) if difference.interval_seeds else "",
        "p_patients": words.chance(difference.p_patients),
        "p_seeds": "" if difference.p_seeds is None else words.chance(difference.p_seeds),
        "p": words.chance(difference.p_holm),
        "rank_biserial": words.signed(difference.rank_biserial, "1"),
        "standardised": words.signed(difference.standardised, "1"),
        "n": difference.patients,
        "one_sided": difference.one_sided,
        "seeds": words.seeds_against(difference, comparison),
        "verdict": words.verdict(difference),
        "kind": difference.verdict.split()[0],
        "labels": [
            (label, words.signed(mean, unit), words.signed_span(interval, unit))
            for label, (mean, interval) in difference.labels.items()
        ],
    }


def _matrix(comparison: Comparison, metric: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Row minus column: the difference, its verdict and what is told on hovering; empty for two methods."""
    names = [method.name for method in comparison.methods]
    if len(names) < 3:
        return []
    unit = METRICS[metric].unit
    rows = []
    for row in names:
        cells = []
        for column in names:
            found = comparison.difference(metric, row, column) if row != column else None
            if found is None:
                cells.append(("", "", ""))
            else:
                hover = words.sentence(found, comparison.rules.confidence)
                cells.append((words.signed(found.mean, unit), found.verdict.split()[0], hover))
        rows.append((row, cells))
    return rows


def _labels(comparison: Comparison) -> list[dict[str, Any]]:
    """Per metric the mean of each label, where there are several."""
    tables = []
    for metric in comparison.metrics:
        found = comparison.standings[metric]
        labels = list(dict.fromkeys(label for own in found.values() for label in own.labels))
        if len(labels) > 1:
            rows = [
                (method.name, [found[method.name].labels.get(label) for label in labels])
                for method in comparison.methods
            ]
            tables.append({"metric": METRICS[metric], "labels": labels, "rows": rows})
    return tables
