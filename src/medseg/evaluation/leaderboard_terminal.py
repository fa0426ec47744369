"""A comparison as it is printed in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medseg.evaluation.bootstrap import Interval
from medseg.evaluation.comparison import Comparison
from medseg.evaluation.leaderboard_tables import RaterLine
from medseg.evaluation.leaderboard_text import headline
from medseg.evaluation.leaderboard_words import sentence, share
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.table import number, plural, span

if TYPE_CHECKING:
    from rich.table import Table

_MOST = 12


def board(comparison: Comparison, rater: RaterLine | None = None) -> Table:
    """Methods down, best first; metrics with their intervals across, then the spread of seeds."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    percent = f"{comparison.rules.confidence:.0%}"
    title = f"{plural(comparison.cases, 'case')} of {plural(comparison.patients, 'patient')}"
    caption = f"{percent} intervals over patients · first: share of resamples in which it is the best"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=box.SIMPLE)
    table.add_column("method", overflow="fold", min_width=14)
    for metric in comparison.metrics:
        definition = METRICS[metric]
        table.add_column(
            definition.title + ("" if definition.unit == "1" else f" {definition.unit}"),
            justify="right",
            no_wrap=True,
        )
    for name in ("seeds sd", "first", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for method in comparison.methods:
        table.add_row(Text(method.name), *_cells(comparison, method.name))
    if rater:
        table.add_section()
        known = [rater.values.get(metric) for metric in comparison.metrics]
        cells = [_told(*own, m) if own else "–" for own, m in zip(known, comparison.metrics, strict=True)]
        table.add_row(Text(rater.name), *cells, "", "", str(rater.cases))
    return table


def _cells(comparison: Comparison, name: str) -> list[str]:
    found = [comparison.standings[metric][name] for metric in comparison.metrics]
    first = found[0]
    cells = [_told(own.mean, own.interval, m) for own, m in zip(found, comparison.metrics, strict=True)]
    unit = METRICS[comparison.metrics[0]].unit
    cells.append(number(first.noise.sd if first.noise else None, unit))
    cells.append(share(first.rank.first) if first.rank else "–")
    counts = [f"{n} {name}" for n, name in ((first.n_nan, "nan"), (first.n_missed, "missed")) if n]
    return [*cells, "\n".join([str(first.n), *counts])]


def _told(mean: float | None, interval: Interval | None, metric: str) -> str:
    unit = METRICS[metric].unit
    return number(mean, unit) + (f"\n{span(interval, unit)}" if interval else "")


def verdicts(comparison: Comparison) -> Sequence[str]:
    """What was found by the first metric: against the reference, else of every pair."""
    first = comparison.metrics[0]
    found = comparison.against[first] or comparison.pairs[first]
    lines = headline(comparison) + [sentence(d, comparison.rules.confidence) for d in found[:_MOST]]
    if len(found) > _MOST:
        lines.append(f"{len(found) - _MOST} more pairs are in the page")
    return lines
