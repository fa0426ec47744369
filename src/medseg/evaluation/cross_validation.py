"""The folds of a cross-validation as one result: a table, a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.evaluation import report_parts as parts
from medseg.evaluation.cases import Row
from medseg.evaluation.page import render
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import Statistics, Summary
from medseg.evaluation.table import SHOWN, number, plural, span
from medseg.files import write_text

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Folds:
    """What all folds of one method scored.

    Attributes:
        name: of the method.
        pooled: every case once, by the models that did not see its patient.
        folds: fold -> its own cases.
        rows: the pooled ones.
        settings: as the runs were scored.
        facts: lines for the header.
        notes: what was left out.
    """

    name: str
    pooled: Summary
    folds: Mapping[int, Summary]
    rows: tuple[Row, ...]
    settings: EvaluationSettings
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()

    @property
    def shown(self) -> list[str]:
        """The metrics of the table."""
        wanted = dict.fromkeys((*SHOWN, *parts.HEADLINE))
        return [name for name in wanted if name in self.pooled.receipts] or list(self.pooled.receipts)[:4]


def fold_table(found: Folds) -> Table:
    """Folds down, then all of them pooled; the mean over labels of each metric with its interval."""
    from rich import box
    from rich.table import Table

    pooled, shown = found.pooled, found.shown[:3]
    title = f"out of fold: {plural(pooled.cases, 'case')}, {plural(pooled.patients, 'patient')}"
    caption = f"below each mean its {pooled.confidence:.0%} interval over patients"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=box.SIMPLE)
    table.add_column("fold")
    for name in shown:
        receipt = pooled.receipts[name]
        unit = "" if receipt.unit == "1" else f" {receipt.unit}"
        table.add_column(receipt.title + unit, justify="right", no_wrap=True)
    for name in ("n", "nan", "missed"):
        table.add_column(name, justify="right", no_wrap=True)
    for fold, summary in found.folds.items():
        table.add_row(str(fold), *_cells(summary, shown))
    table.add_section()
    table.add_row("all", *_cells(pooled, shown), style="bold")
    return table


def _cells(summary: Summary, shown: Sequence[str]) -> list[str]:
    cells: list[str] = []
    for name in shown:
        own: Statistics | None = summary.overall.get(name)
        unit = summary.receipts[name].unit if name in summary.receipts else "1"
        cells.append(f"{number(own.mean, unit)}\n{span(own.interval, unit)}" if own else "–")
    first = summary.overall[shown[0]]
    return [*cells, str(first.n), str(first.n_nan), str(first.n_missed)]


def write_page(found: Folds, folder: Path) -> Path:
    """Writes ``report.html``: the table, the spread over cases, labels, centres and the worst cases."""
    path = folder / "report.html"
    write_text(path, render("cross_validation.html.j2", page_values(found)))
    return path


def page_values(found: Folds) -> dict[str, Any]:
    """What the template speaks of."""
    rows = list(found.rows)
    return {
        "title": next((value for name, value in found.facts if name == "Cohort"), "") + ", cross-validation",
        "found": found,
        "summary": found.pooled,
        "cards": parts.cards(found.pooled),
        "columns": parts.columns(found.pooled),
        "spreads": parts.spreads(rows, found.pooled),
        "centres": parts.centres(rows, found.settings),
        "cases": parts.case_figures(rows, {}, found.settings.worst_cases),
        "every_case": parts.every_case(rows),
        "receipts": parts.receipts([found.pooled]),
        "limits": limits(found),
    }


def limits(found: Folds) -> list[str]:
    """What a reader must not conclude."""
    told = [
        "Each case was scored by models that did not see its patient. Where validation cases guided a "
        "training (early stopping, choices of the user) the numbers are optimistic all the same.",
        "The ensemble of all folds has seen every one of these patients: nothing here says how well it does. "
        "Score it on patients that none of the folds saw.",
        "The intervals are over patients. They do not hold what other seeds or another centre would change.",
    ]
    if found.pooled.patients < 20:
        who = plural(found.pooled.patients, "patient")
        told.append(f"{who}: bootstrap intervals of so few are too narrow.")
    told += [f"Left out: {line}." for line in found.notes]
    told.append("For research. Not a medical device, and not to be used for diagnosis or treatment.")
    return told
