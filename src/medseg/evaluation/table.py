"""The result of an evaluation as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medseg.evaluation.bootstrap import Interval
from medseg.evaluation.summary import Receipt, Statistics, Summary

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN = ("dice", "hd95", "surface_dice")
"""The metrics of the terminal's table; all of them are in ``cases.csv`` and the report."""


def number(value: float | None, unit: str) -> str:
    """A value as people read it: shares with three digits, mm and ml with two or three figures."""
    if value is None:
        return "–"
    if unit == "1":
        return f"{value:.3f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def result_table(summary: Summary, metrics: Sequence[str] = SHOWN) -> Table:
    """Labels down, metrics across; an interval beside the first, and every count that qualifies it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = [name for name in metrics if name in summary.receipts] or list(summary.receipts)
    title = f"{summary.part or 'all'}: {plural(summary.cases, 'case')}, {plural(summary.patients, 'patient')}"
    caption = "nan: both masks empty, not averaged · missed: exactly one mask empty"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=box.SIMPLE)
    table.add_column("label", min_width=8, overflow="fold")
    for position, name in enumerate(shown):
        table.add_column(Text(_titled(summary.receipts[name])), justify="right", no_wrap=True)
        if position == 0:
            table.add_column(f"{summary.confidence:.0%} interval", no_wrap=True)
    for column in ("n", "nan", "missed"):
        table.add_column(column, justify="right", no_wrap=True)
    for label, by in summary.labels.items():
        table.add_row(Text(label), *_cells(by, summary, shown))
    if len(summary.labels) > 1:
        table.add_section()
        table.add_row(Text("mean of labels"), *_cells(summary.overall, summary, shown), style="bold")
    return table


def missing_table(
    summaries: Mapping[tuple[str, ...], Summary], modalities: Sequence[str], trained: bool
) -> Table:
    """Subsets of the modalities down, the mean Dice of each label across, and the mean hd95 beside it.

    Without Dice it is the first metric that `result_table` would show.

    Args:
        summaries: the modalities that are there -> the scores.
        modalities: all of them.
        trained: whether the model was trained on cases that lacked some.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    first = next(iter(summaries.values()))
    labels, receipts = list(first.labels), first.receipts
    metric = next(iter([*(name for name in SHOWN if name in receipts), *receipts]))
    distance = receipts.get("hd95") if metric != "hd95" else None
    unit, title = receipts[metric].unit, _titled(receipts[metric])
    how = "trained on cases that lacked some" if trained else "always trained with all modalities"
    title, caption = f"{title} by the modalities that are there", f"the model was {how}"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=box.SIMPLE)
    for name in modalities:
        table.add_column(Text(name), justify="center")
    for name in [*labels, "mean"] if len(labels) > 1 else labels:
        table.add_column(Text(name), justify="right")
    for name in (f"{first.confidence:.0%} interval", "n", "nan", "missed"):
        table.add_column(name, justify="right", no_wrap=True)
    if distance:
        table.add_column(Text(_titled(distance)), justify="right")
    for subset, summary in summaries.items():
        whole = summary.overall[metric]
        cells = [number(summary.labels[label][metric].mean, unit) for label in labels]
        cells += [number(whole.mean, unit)] if len(labels) > 1 else []
        cells += [span(whole.interval, unit), str(whole.n), str(whole.n_nan), str(whole.n_missed)]
        cells += [number(summary.overall["hd95"].mean, distance.unit)] if distance else []
        table.add_row(*("●" if name in subset else "·" for name in modalities), *cells)
    return table


def _titled(receipt: Receipt) -> str:
    return receipt.title + ("" if receipt.unit == "1" else f" {receipt.unit}")


def print_table(summary: Summary, console: Console | None = None) -> None:
    """Prints `result_table` to the terminal."""
    from rich.console import Console

    (console or Console()).print(result_table(summary))


def _cells(by: dict[str, Statistics], summary: Summary, shown: Sequence[str]) -> list[str]:
    cells: list[str] = []
    for position, name in enumerate(shown):
        unit, found = summary.receipts[name].unit, by.get(name)
        cells.append(number(found.mean if found else None, unit))
        if position == 0:
            cells.append(span(found.interval if found else None, unit))
    first = by.get(shown[0]) if shown else None
    return [*cells, *(map(str, (first.n, first.n_nan, first.n_missed)) if first else "000")]


def span(interval: Interval | None, unit: str) -> str:
    """An interval as people read it, a dash where there is none."""
    return "–".join(number(bound, unit) for bound in interval) if interval else "–"


def plural(n: int, noun: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{n} {noun}" + ("" if n == 1 else "s")
