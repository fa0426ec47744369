"""What each part of the report says, as plain values for the template."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from medseg.evaluation.box_plot import Spread, box_plot
from medseg.evaluation.cases import Row
from medseg.evaluation.charts import Series, line_chart
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.pictures import CasePicture, cases_to_show, draw
from medseg.evaluation.run_files import Curves, plain, thin
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import Receipt, Statistics, Summary, statistics
from medseg.evaluation.table import number

HEADLINE = ("dice", "hd95", "surface_dice", "assd")
SPREADS = ("dice", "hd95")
CENTRE_METRICS = ("dice", "hd95", "surface_dice")
_MOST_CURVES = 5
_MAIN = ("overlap", "volume", "surface", "centreline")
_SIZES = ("spacing", "patch_size")
_LEFT_OUT_OF_PLAN = ("reasons", "fingerprint_hash")


@dataclass(frozen=True)
class Chart:
    """A drawing with its heading, its legend ``(tone, name)`` and a note."""

    heading: str
    drawing: Markup
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


def cards(summary: Summary) -> list[tuple[Receipt, Statistics]]:
    """The headline numbers."""
    return [(summary.receipts[m], summary.overall[m]) for m in HEADLINE if m in summary.receipts]


def columns(summary: Summary) -> list[str]:
    """The metrics of the table of results; those with a section of their own where there is nothing else."""
    known = [METRICS[name] for name in summary.receipts]
    chosen = [m.name for m in known if m.family in _MAIN and m.better in ("higher", "lower")]
    return chosen or [m.name for m in known]


def curves(found: Curves) -> list[Chart]:
    """Loss, and validation Dice, against minutes of training."""
    losses = [
        Series(_curve_name(name), thin(points), name == "train/loss")
        for name, points in found.items()
        if name.endswith("/loss")
    ]
    losses.sort(key=lambda series: not series.faint)
    charts = []
    for heading, lines, best in (("Loss", losses, False), ("Validation Dice", _scores(found), True)):
        if lines:
            legend = tuple((f"s{index % 6}", line.name) for index, line in enumerate(lines))
            drawing = line_chart(lines, "minutes of training", heading, mark_best=best)
            charts.append(Chart(heading, drawing, legend))
    return charts


def _scores(found: Curves) -> list[Series]:
    """Whole volumes, the mean over the labels first, then patches."""
    names = [name for name in found if name.startswith("validation") and "dice" in name.split("/")]
    names.sort(key=lambda name: (not name.startswith("validation_volume"), name.count("/")))
    labels = [name for name in names if name.startswith("validation_volume/dice/")]
    several = len(labels) > 1
    if len(labels) > _MOST_CURVES and "validation_volume/dice" in names:
        names = [name for name in names if name not in labels]
    return [
        Series(
            _curve_name(name) + (", mean" if several and name == "validation_volume/dice" else ""),
            thin(found[name]),
        )
        for name in names
    ]


def _curve_name(name: str) -> str:
    head, _, tail = name.partition("/")
    where = {
        "train": "training",
        "validation": "validation patches",
        "validation_volume": "whole volumes",
    }.get(head, head.replace("_", " "))
    label = tail.removeprefix("loss").removeprefix("dice").strip("/")
    return f"{where}, {label}" if label else where


def spreads(rows: Sequence[Row], summary: Summary) -> list[Chart]:
    """A box plot over the cases per headline metric, a row per label."""
    charts = []
    for metric in SPREADS:
        if metric not in summary.receipts:
            continue
        receipt = summary.receipts[metric]
        own = [row for row in rows if row.metric == metric]
        chosen = [_spread(label, [row for row in own if row.label == label]) for label in summary.labels]
        if not any(spread.values for spread in chosen):
            continue
        unit = "" if receipt.unit == "1" else f" [{receipt.unit}]"
        arrow = " → better" if receipt.better == "higher" else " ← better"
        share, higher = receipt.unit == "1", receipt.better == "higher"
        drawing = box_plot(chosen, receipt.title + unit + arrow, share, higher)
        note = "× missed: exactly one mask is empty" if any(m for s in chosen for *_, m in s.values) else ""
        charts.append(Chart(f"{receipt.title} per case", drawing, (), note))
    return charts


def _spread(label: str, rows: Sequence[Row]) -> Spread:
    values = tuple((row.case, row.value, row.status == "missed") for row in rows if row.status != "nan")
    return Spread(label, values, f"n {len(values)}")


@dataclass(frozen=True)
class CaseFigure:
    """A case that is shown: why, its values per label, and its picture as a data URI where there is one."""

    case: str
    why: str
    score: str
    values: tuple[tuple[str, str], ...]
    picture: str


def case_figures(rows: Sequence[Row], pictures: Mapping[str, CasePicture], worst: int) -> list[CaseFigure]:
    """The worst cases, then the median one."""
    figures = []
    for shown in cases_to_show(rows, worst):
        picture = ""
        if shown.case in pictures:
            encoded = base64.b64encode(draw(pictures[shown.case])).decode()
            picture = "data:image/png;base64," + encoded
        metric = METRICS[shown.metric]
        score = f"{metric.title} {number(shown.value, metric.unit)}"
        figures.append(CaseFigure(shown.case, shown.why, score, _case_values(rows, shown.case), picture))
    return figures


def _case_values(rows: Sequence[Row], case: str) -> tuple[tuple[str, str], ...]:
    """Per label what its first two headline metrics say of the case."""
    told: dict[str, list[str]] = {}
    for metric in HEADLINE[:2]:
        for row in rows:
            if row.case == case and row.metric == metric:
                told.setdefault(row.label, []).append(_told(row))
    return tuple((label, ", ".join(dict.fromkeys(texts))) for label, texts in told.items())


def _told(row: Row) -> str:
    if row.status == "nan":
        return "absent, none predicted"
    if row.status == "missed":
        return "missed (exactly one mask is empty)"
    unit = "" if row.unit == "1" else f" {row.unit}"
    return f"{METRICS[row.metric].title} {number(row.value, row.unit)}{unit}"


@dataclass(frozen=True)
class CentreRow:
    """One centre and label: cases, and statistics per metric."""

    centre: str
    label: str
    cells: tuple[tuple[str, Statistics], ...]


def centres(rows: Sequence[Row], settings: EvaluationSettings) -> list[CentreRow]:
    """A row per centre and label, where there are two centres or more."""
    names = sorted({row.centre for row in rows})
    if len(names) < 2:
        return []
    shown = [metric for metric in CENTRE_METRICS if any(row.metric == metric for row in rows)]
    table = []
    for centre in names:
        for label in dict.fromkeys(row.label for row in rows):
            own = [row for row in rows if row.centre == centre and row.label == label]
            cells = tuple(
                (name, statistics([row for row in own if row.metric == name], settings)) for name in shown
            )
            table.append(CentreRow(centre or "not given", label, cells))
    return table


def every_case(rows: Sequence[Row], most: int = 300) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Labels, and per case its Dice for each of them, worst first."""
    labels = list(dict.fromkeys(row.label for row in rows))
    found = {(row.case, row.label): _short(row) for row in rows if row.metric == "dice"}
    order = [shown.case for shown in cases_to_show(rows, most)][:most]
    return labels, [(case, [found.get((case, label), "–") for label in labels]) for case in order]


def _short(row: Row) -> str:
    if row.status == "nan":
        return "–"
    return number(row.value, row.unit) + (" ×" if row.status == "missed" else "")


def plan(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Decision, value, and why."""
    reasons = found.get("reasons") or {}
    lines = [
        (name.replace("_", " "), plain(value, " × " if name in _SIZES else ", "), str(reasons.get(name, "")))
        for name, value in found.items()
        if name not in _LEFT_OUT_OF_PLAN
    ]
    lines += [(name.replace("_", " "), "", str(why)) for name, why in reasons.items() if name not in found]
    return lines


def receipts(summaries: Iterable[Summary]) -> list[Receipt]:
    """Every metric that the page shows, once."""
    return list({name: receipt for s in summaries for name, receipt in s.receipts.items()}.values())
