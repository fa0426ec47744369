"""Charts as inline SVG: they follow the page's colours, light or dark, and print sharp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 40


@dataclass(frozen=True)
class Series:
    """A line: its name and its points ``(x, y)`` in order; ``faint`` for what is only background."""

    name: str
    points: tuple[tuple[float, float], ...]
    faint: bool = False


@dataclass(frozen=True)
class Axis:
    """From data to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of ``value``; values beyond the axis stay at its ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover ``low`` to ``high``, about ``count`` steps of 1, 2, 2.5 or 5."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def line_chart(
    series: Sequence[Series],
    x_title: str,
    y_title: str,
    *,
    mark_best: bool = False,
    size: tuple[int, int] = (560, 290),
) -> Markup:
    """Lines over a common x axis; ``mark_best`` rings the highest point of the first line."""
    points = [point for line in series for point in line.points]
    columns = ticks(min(x for x, _ in points), max(x for x, _ in points))
    rows = ticks(min(y for _, y in points), max(y for _, y in points))
    across = Axis(columns[0], columns[-1], _LEFT, size[0] - _RIGHT)
    up = Axis(rows[0], rows[-1], size[1] - _BOTTOM, _TOP)
    parts = [grid(across, up, columns, rows), text(across.end, size[1] - 4, x_title, "axis end")]
    parts += [_line(line, index, across, up) for index, line in enumerate(series)]
    if mark_best:
        x, y = max(series[0].points, key=lambda point: point[1])
        parts.append(_best(across(x), up(y), f"best {y:.3f} at {x:.3g}", size[0]))
    return svg(parts, size, f"{y_title} against {x_title}")


def grid(across: Axis, up: Axis, columns: Sequence[float], rows: Sequence[float]) -> Markup:
    """A line and its number per row, a number per column."""
    line = Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    parts = [line.format(across.start, across.end, up(row), up(row)) for row in rows]
    parts += [text(across.start - 7, up(row) + 4, f"{row:g}", "tick end") for row in rows]
    parts += [text(across(column), up.start + 17, f"{column:g}", "tick mid") for column in columns]
    return Markup("").join(parts)


def _line(line: Series, index: int, across: Axis, up: Axis) -> Markup:
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line.points)
    kind = f"line s{index % 6}" + (" faint" if line.faint else "")
    drawn = Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>').format(
        kind, path, line.name
    )
    if len(line.points) > 40:
        return drawn
    dot = Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="2.6"><title>{}</title></circle>')
    dots = [
        dot.format(index % 6, across(x), up(y), f"{line.name}: {y:.4g} at {x:.3g}") for x, y in line.points
    ]
    return drawn + Markup("").join(dots)


def _best(x: float, y: float, told: str, width: int) -> Markup:
    side = "end" if x > width * 0.6 else "start"
    shift = -9 if side == "end" else 9
    ring = Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(x, y)
    return ring + text(x + shift, y + 18, told, f"note {side}")


def text(x: float, y: float, words: str, kind: str, full: str = "") -> Markup:
    """A line of text; ``full`` is told on hovering where the text had to be cut."""
    title = Markup("<title>{}</title>").format(full) if full not in ("", words) else ""
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}{}</text>').format(x, y, kind, words, title)


def svg(parts: Sequence[Markup], size: tuple[int, int], title: str) -> Markup:
    """The parts as one drawing that takes the width it is given."""
    opening = f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(title)}">'
    return Markup(opening) + Markup("").join(parts) + Markup("</svg>")
