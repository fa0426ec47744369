"""Box plots with every case as a dot, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from medseg.evaluation.charts import Axis, svg, text, ticks


@dataclass(frozen=True)
class Spread:
    """What one row of a box plot shows.

    Attributes:
        label: the row's name.
        values: ``(case id, value, missed)`` of every case that was averaged.
        note: what is said at the end of the row, as the counts.
    """

    label: str
    values: tuple[tuple[str, float, bool], ...]
    note: str = ""


def box_plot(
    rows: Sequence[Spread],
    x_title: str,
    zero_to_one: bool,
    higher_is_better: bool,
    mark: tuple[float, str] | None = None,
) -> Markup:
    """A lying box per row over all its values, and every case as a dot; ``mark`` is a named line across.

    Whiskers end at the last case within 1.5 times the box from it. Cases that were missed stand as
    crosses in a gutter on the bad side: their value is a penalty and would squeeze the axis.
    """
    size = (560, 44 * len(rows) + (68 if mark else 52))
    marks = _span(rows, zero_to_one, mark)
    bad_left = higher_is_better
    room = _room(rows)
    left, right = room + (22 if bad_left else 0), size[0] - 70 - (0 if bad_left else 22)
    across = Axis(marks[0], marks[-1], left, right)
    gutter = left - 16 if bad_left else right + 16
    floor = 44 * len(rows) + 8
    parts = [
        Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="4" y2="{}"/>').format(
            across(mark), across(mark), floor
        )
        + text(across(mark), floor + 16, f"{mark:g}", "tick mid")
        for mark in marks
    ]
    if mark is not None:
        at = across(mark[0])
        parts.append(
            Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="4" y2="{1}"/>').format(at, floor)
        )
        parts.append(text(at, floor + 34, mark[1], "note mid"))
    parts.append(text(right, floor + (50 if mark else 34), x_title, "axis end"))
    for index, row in enumerate(rows):
        parts.append(_box_row(row, f"s{index % 6}", 44 * index + 28, across, gutter, room))
        parts.append(text(size[0] - 4, 44 * index + 32, row.note, "tick end"))
    return svg(parts, size, x_title)


def _span(rows: Sequence[Spread], zero_to_one: bool, mark: tuple[float, str] | None) -> list[float]:
    values = [value for row in rows for _, value, missed in row.values if not missed]
    values += [mark[0]] if mark else []
    if not values:
        return [0.0, 0.5, 1.0]
    if zero_to_one:
        return ticks(min(values), 1.0, 5)
    return ticks(0.0, max(values), 5)


def _room(rows: Sequence[Spread]) -> int:
    """Pixels for the names: more where one is long."""
    longest = max(len(row.label) for row in rows)
    return 128 if longest <= 15 else min(192, 8 * longest + 12)


def _box_row(row: Spread, tone: str, y: float, across: Axis, gutter: float, room: int) -> Markup:
    most = room // 8
    name = row.label if len(row.label) <= most else row.label[: most - 1] + "…"
    parts = [text(room - 12, y + 4, name, "name end", row.label)]
    values = sorted(value for _, value, _ in row.values)
    if len(values) >= 4:
        parts.append(_box(values, y, across, tone))
    crosses = 0
    for place, (case, value, missed) in enumerate(sorted(row.values, key=lambda entry: entry[1])):
        told = f"{case}: {value:.4g}"
        if missed:
            cross = Markup('<path class="cross {}" d="M{:.1f} {:.1f}l6 6m0-6l-6 6"><title>{}</title></path>')
            height = y + (crosses % 5 - 2) * 8
            parts.append(cross.format(tone, gutter - 3, height - 3, told + " (missed: one mask is empty)"))
            crosses += 1
        else:
            # A fixed pattern keeps dots of equal value apart and the page the same at every writing.
            height = y + (place * 2 % 5 - 2) * 2.8
            dot = Markup('<circle class="case {}" cx="{:.1f}" cy="{:.1f}" r="2.5"><title>{}</title></circle>')
            parts.append(dot.format(tone, across(value), height, told))
    return Markup("").join(parts)


def _box(values: Sequence[float], y: float, across: Axis, tone: str) -> Markup:
    import numpy as np

    low, middle, high = (float(q) for q in np.percentile(values, (25, 50, 75)))
    reach = 1.5 * (high - low)
    first = min(v for v in values if v >= low - reach)
    last = max(v for v in values if v <= high + reach)
    shape = Markup(
        '<line class="whisker {0}" x1="{1:.1f}" x2="{2:.1f}" y1="{3}" y2="{3}"/>'
        '<rect class="box {0}" x="{4:.1f}" y="{5}" width="{6:.1f}" height="22" rx="2"/>'
        '<line class="median {0}" x1="{7:.1f}" x2="{7:.1f}" y1="{5}" y2="{8}"/>'
    )
    wide = max(1.0, across(high) - across(low))
    return shape.format(
        tone, across(first), across(last), y, across(low), y - 11, wide, across(middle), y + 11
    )
