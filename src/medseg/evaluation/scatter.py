"""Charts of agreement, as inline SVG: volumes after Bland and Altman, and probabilities against presence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from medseg.evaluation.agreement import Agreement
from medseg.evaluation.bootstrap import Interval
from medseg.evaluation.calibration import Reliability
from medseg.evaluation.charts import Axis, grid, svg, text, ticks

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 92, 12, 40


def bland_altman_plot(agreement: Agreement, size: tuple[int, int] = (560, 300)) -> Markup:
    """Every case at the mean of its volumes and their difference; bias and limits with their intervals."""
    means = [point.mean for point in agreement.points]
    lines = [
        ("bias", agreement.bias, agreement.bias_interval),
        ("+1.96 SD", agreement.upper, agreement.upper_interval),
        ("−1.96 SD", agreement.lower, agreement.lower_interval),
    ]
    heights = [0.0, *(point.difference for point in agreement.points)]
    heights += [bound for _, _, interval in lines for bound in interval or ()]
    columns, rows = ticks(min(means), max(means)), ticks(min(heights), max(heights))
    across = Axis(columns[0], columns[-1], _LEFT, size[0] - _RIGHT)
    up = Axis(rows[0], rows[-1], size[1] - _BOTTOM, _TOP)
    parts = [grid(across, up, columns, rows)]
    parts += [_level(across, up, *line) for line in lines if line[1] is not None]  # type: ignore[arg-type]
    for point in agreement.points:
        told = f"{point.case}: {point.difference:+.4g} ml at {point.mean:.4g} ml"
        parts.append(_point(across(point.mean), up(point.difference), told, point.missed))
    parts.append(text(across.end, size[1] - 4, "mean of both volumes [ml]", "axis end"))
    return svg(parts, size, "Predicted minus reference volume against their mean")


def _level(across: Axis, up: Axis, name: str, value: float, interval: Interval | None) -> Markup:
    parts = []
    if interval is not None:
        top, bottom = up(interval[1]), up(interval[0])
        band = Markup('<rect class="band" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
        parts.append(band.format(across.start, top, across.end - across.start, max(bottom - top, 0.5)))
    kind = "level" if name == "bias" else "level dashed"
    line = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    parts.append(line.format(kind, across.start, across.end, up(value), up(value)))
    parts.append(text(across.end + 6, up(value) + 4, f"{name} {value:+.3g}", "tick start"))
    return Markup("").join(parts)


def _point(x: float, y: float, told: str, missed: bool) -> Markup:
    if missed:
        cross = Markup('<path class="cross s1" d="M{:.1f} {:.1f}l6 6m0-6l-6 6"><title>{}</title></path>')
        return cross.format(x - 3, y - 3, told + " (missed: one mask is empty)")
    dot = Markup('<circle class="case s0" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}</title></circle>')
    return dot.format(x, y, told)


def reliability_plot(found: Sequence[tuple[str, Reliability]], size: tuple[int, int] = (560, 400)) -> Markup:
    """Per label the share of positives against the mean probability of each bin; perfect is the diagonal.

    The area of a dot grows with the logarithm of its bin's voxels; a bin without voxels has none.
    """
    marks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    across, up = Axis(0, 1, _LEFT, size[0] - 14), Axis(0, 1, size[1] - _BOTTOM, _TOP)
    line = Markup('<line class="level dashed" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    parts = [
        grid(across, up, marks, marks),
        line.format(across.start, across.end, up.start, up.end),
        text(across.end, size[1] - 4, "mean probability in the bin", "axis end"),
    ]
    for index, (name, one) in enumerate(found):
        held = np.flatnonzero(one.counts)
        points = [
            (one.confidence[k] / one.counts[k], one.positives[k] / one.counts[k], one.counts[k]) for k in held
        ]
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y, _ in points)
        parts.append(Markup('<polyline class="line s{}" points="{}"/>').format(index % 6, path))
        dot = Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>')
        for x, y, n in points:
            told = f"{name}: {y:.3f} of {n} voxels at {x:.3f}"
            parts.append(dot.format(index % 6, across(x), up(y), 1.5 + 0.55 * np.log10(n), told))
    return svg(parts, size, "Share of voxels with the label against its probability")
