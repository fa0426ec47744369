"""The drawings of a leaderboard: intervals, cases, and quality against cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from medseg.evaluation.box_plot import Spread, box_plot
from medseg.evaluation.charts import Axis, svg, text, ticks
from medseg.evaluation.comparison import Comparison, Difference
from medseg.evaluation.methods import Method
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.report_parts import Chart

_ROW, _NAME = 36, 196
Mark = tuple[float, str]
"""A value and what it is called, drawn as a line across."""


@dataclass(frozen=True)
class Bar:
    """A row of an interval chart: value, interval, smaller dots, and whether it stands out."""

    name: str
    value: float
    interval: tuple[float, float] | None
    dots: tuple[float, ...] = ()
    tone: int = 0
    strong: bool = True


def interval_chart(bars: Sequence[Bar], x_title: str, mark: Mark | None = None) -> Markup:
    """A dot and a line per row; small dots below are single seeds; ``mark`` is a line across."""
    values = [v for bar in bars for v in (bar.value, *(bar.interval or ()), *bar.dots)]
    values += [mark[0]] if mark else []
    marks = ticks(min(values), max(values), 5)
    floor = _ROW * len(bars) + 10
    size = (600, floor + (58 if mark and mark[1] else 40))
    across = Axis(marks[0], marks[-1], _NAME, size[0] - 16)
    parts = [_grid(across, marks, floor)]
    if mark is not None:
        parts.append(_mark(across(mark[0]), mark[1], floor))
    parts.append(text(size[0] - 16, size[1] - 4, x_title, "axis end"))
    for index, bar in enumerate(bars):
        parts.append(_bar(bar, _ROW * index + 24, across))
    return svg(parts, size, x_title)


def _grid(across: Axis, marks: Sequence[float], floor: float) -> Markup:
    line = Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="6" y2="{1}"/>')
    drawn = [line.format(across(m), floor) + text(across(m), floor + 15, _tick(m), "tick mid") for m in marks]
    return Markup("").join(drawn)


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _mark(at: float, words: str, floor: float) -> Markup:
    line = Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="6" y2="{1}"/>').format(at, floor)
    return line + text(at, floor + 32, words, "note mid") if words else line


def _bar(bar: Bar, y: float, across: Axis) -> Markup:
    faint = "" if bar.strong else " faint"
    lines = _two_lines(bar.name)
    shift = 4 if len(lines) == 1 else -3
    parts = [
        text(_NAME - 12, y + shift + 14 * place, line, "name end", bar.name)
        for place, line in enumerate(lines)
    ]
    if bar.interval:
        line = Markup('<line class="reach s{0}{1}" x1="{2:.1f}" x2="{3:.1f}" y1="{4}" y2="{4}"/>')
        parts.append(line.format(bar.tone, faint, across(bar.interval[0]), across(bar.interval[1]), y))
    small = Markup('<circle class="seed s{}" cx="{:.1f}" cy="{:.1f}" r="2.2"><title>{:.4g}</title></circle>')
    parts += [small.format(bar.tone, across(dot), y + 9, dot) for dot in bar.dots]
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4.6"><title>{:.4g}</title></circle>')
    kind = f"point s{bar.tone} f{bar.tone}" if bar.strong else f"point s{bar.tone} hollow"
    parts.append(dot.format(kind, across(bar.value), y, bar.value))
    return Markup("").join(parts)


def _two_lines(name: str, most: int = 27) -> list[str]:
    """A long name broken at a comma, cut where that is not enough."""
    if len(name) <= most:
        return [name]
    words = name.split(", ")
    half = max(1, len(words) // 2)
    lines = [", ".join(words[:half]) + ("," if words[half:] else ""), ", ".join(words[half:])]
    # The end of a name often tells it from the next one: it stays.
    return [line if len(line) <= most else f"{line[: most - 9]}…{line[-8:]}" for line in lines if line]


def numbered(comparison: Comparison, method: str) -> str:
    """The name after its place in the leaderboard, so that a cut name is still known."""
    return f"{[other.name for other in comparison.methods].index(method) + 1} {method}"


def means_chart(comparison: Comparison, metric: str, mark: Mark | None) -> Chart | None:
    """The mean of each method with its interval and its seeds."""
    bars = []
    for index, method in enumerate(comparison.methods):
        own = comparison.standings[metric][method.name]
        if own.mean is not None:
            seeds = tuple(own.seeds.values()) if len(own.seeds) > 1 else ()
            bars.append(Bar(numbered(comparison, method.name), own.mean, own.interval, seeds, index % 6))
    if not bars:
        return None
    note = "small dots: single seeds" if any(bar.dots for bar in bars) else ""
    return Chart(_titled(metric), interval_chart(bars, _axis(metric), mark), (), note)


def differences_chart(found: Sequence[Difference], comparison: Comparison) -> Chart | None:
    """Each difference from its reference; hollow where it is not distinguishable."""
    if not found:
        return None
    tones = {method.name: index % 6 for index, method in enumerate(comparison.methods)}
    bars = [
        Bar(
            numbered(comparison, d.method),
            d.mean,
            d.interval_seeds or d.interval,
            (),
            tones[d.method],
            d.verdict != "not distinguishable",
        )
        for d in found
    ]
    references = list(dict.fromkeys(d.reference for d in found))
    against = references[0] if len(references) == 1 else "its reference"
    metric = found[0].metric
    seeds = all(d.interval_seeds for d in found)
    note = "intervals over patients and seeds" if seeds else "intervals over patients"
    note += "; hollow: not distinguishable"
    return Chart(
        f"{METRICS[metric].title} against {against}",
        interval_chart(bars, "difference" + _axis(metric).removeprefix(METRICS[metric].title), (0.0, "")),
        (),
        note,
    )


def cases_chart(comparison: Comparison, metric: str, mark: Mark | None) -> Chart | None:
    """Every case as a dot, its mean over the trainings and labels."""
    rows = [_spread(method, metric, numbered(comparison, method.name)) for method in comparison.methods]
    if not any(row.values for row in rows):
        return None
    definition = METRICS[metric]
    higher = definition.better == "higher"
    drawing = box_plot(rows, _axis(metric), definition.unit == "1", higher, mark)
    crosses = any(missed for row in rows for *_, missed in row.values)
    return Chart(f"{definition.title} per case", drawing, (), "× missed by every training" if crosses else "")


def _spread(method: Method, metric: str, name: str) -> Spread:
    values: dict[str, list[float]] = {}
    found: set[str] = set()
    for training in method.trainings:
        for row in training.rows:
            if row.metric == metric and row.status != "nan":
                values.setdefault(row.case, []).append(row.value)
                found |= {row.case} if row.status == "ok" else set()
    told = tuple((case, math.fsum(own) / len(own), case not in found) for case, own in values.items())
    return Spread(name, told, f"n {len(told)}")


_STYLE = """
svg { background: #fff; font: 12px system-ui, "DejaVu Sans", sans-serif; }
text { fill: #56626f; font-size: 11.5px; } .name, .note { fill: #16202b; font-size: 12.5px; }
.end { text-anchor: end; } .mid { text-anchor: middle; } .grid { stroke: #e8ebef; }
.mark { stroke: #9a4a00; stroke-width: 1.6; stroke-dasharray: 5 3; }
.s0 { stroke: #0b6bcb; } .s1 { stroke: #c65d00; } .s2 { stroke: #00806a; }
.s3 { stroke: #a8318c; } .s4 { stroke: #7a6a00; } .s5 { stroke: #5b5bd6; }
.box { fill: #f6f7f9; stroke-width: 1.4; } .whisker { stroke-width: 1.4; } .median { stroke-width: 3; }
.case { fill: #fff; fill-opacity: 0.75; stroke-width: 1; } .cross { fill: none; stroke-width: 1.8; }
"""
"""The page's light colours, for a drawing that stands alone."""


def standalone(chart: Chart) -> str:
    """A drawing of the page as an SVG file."""
    opening, _, rest = str(chart.drawing).partition(">")
    head = opening.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    return f"{head}>\n<style>{_STYLE}</style>\n{rest}\n"


def cost_charts(comparison: Comparison) -> list[Chart]:
    """Quality against what it costs, for each cost that all methods state and in which they differ."""
    asked: list[tuple[str, Callable[[Method], float | None]]] = [
        ("minutes of one training", lambda m: m.costs.train_minutes),
        ("million parameters", lambda m: m.costs.parameters and m.costs.parameters / 1e6),
        ("peak memory, GB", lambda m: m.costs.peak_memory_gb),
    ]
    charts = []
    for title, cost in asked:
        points = [(method, cost(method)) for method in comparison.methods]
        if len(points) > 1 and all(value is not None for _, value in points):
            known = [(method, float(value)) for method, value in points if value is not None]
            if len({round(value, 6) for _, value in known}) > 1:
                charts.append(_cost_chart(known, title, comparison))
    return charts[:2]


def _cost_chart(points: Sequence[tuple[Method, float]], title: str, comparison: Comparison) -> Chart:
    metric = comparison.metrics[0]
    found = comparison.standings[metric]
    heights = [mean for method, _ in points if (mean := found[method.name].mean) is not None]
    columns, rows = ticks(0.0, max(cost for _, cost in points)), ticks(min(heights), max(heights))
    size = (600, 280)
    across, up = Axis(columns[0], columns[-1], 46, size[0] - 20), Axis(rows[0], rows[-1], size[1] - 44, 14)
    line = Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    parts = [line.format(across.start, across.end, up(row), up(row)) for row in rows]
    parts += [text(across.start - 7, up(row) + 4, _tick(row), "tick end") for row in rows]
    parts += [text(across(column), up.start + 17, _tick(column), "tick mid") for column in columns]
    parts.append(text(across.end, size[1] - 4, title, "axis end"))
    dot = Markup(
        '<circle class="point s{0} f{0}" cx="{1:.1f}" cy="{2:.1f}" r="5"><title>{3}</title></circle>'
    )
    for method, cost in points:
        mean = found[method.name].mean
        if mean is not None:
            tone = comparison.methods.index(method) % 6
            told = f"{method.name}: {METRICS[metric].title} {mean:.3f}, {cost:.3g} {title}"
            parts.append(dot.format(tone, across(cost), up(mean), told))
    legend = tuple((f"s{k % 6}", numbered(comparison, m.name)) for k, m in enumerate(comparison.methods))
    return Chart(f"{METRICS[metric].title} against {title}", svg(parts, size, title), legend)


def _titled(metric: str) -> str:
    definition = METRICS[metric]
    return definition.title + ("" if definition.unit == "1" else f", {definition.unit}")


def _axis(metric: str) -> str:
    definition = METRICS[metric]
    unit = "" if definition.unit == "1" else f" [{definition.unit}]"
    return definition.title + unit + (" → better" if definition.better == "higher" else " ← better")
