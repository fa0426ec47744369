"""The tables of a model card: results, per centre, per quarter of the reference's volume."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.cases import Row
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import Statistics, Summary, statistics, summarise
from medseg.evaluation.table import number, plural, span

SHOWN = ("dice", "hd95", "surface_dice")
QUARTERS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
_VOLUME, _ERROR, _SHARE = "volume_reference", "volume_error", "relative_volume_error"


@dataclass(frozen=True)
class Lines:
    """A table of the card: its heading, its columns, its rows."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def card_tables(rows: Sequence[Row], settings: EvaluationSettings) -> list[Lines]:
    """All tables, part by part; ``rows`` may hold several parts."""
    tables = []
    for part, summary in summarise(rows, settings).items():
        own = [row for row in rows if row.part == part]
        shown = [metric for metric in SHOWN if metric in summary.receipts] or list(summary.receipts)[:3]
        tables += [
            _results(summary, shown),
            *_groups(own, shown, settings, part, "centre", {row.case: row.centre for row in own}),
            *_volumes(own, shown, settings, part),
        ]
    return tables


def _columns(first: Sequence[str], shown: Sequence[str]) -> tuple[str, ...]:
    heads = [METRICS[m].title + ("" if METRICS[m].unit == "1" else f" [{METRICS[m].unit}]") for m in shown]
    return (*first, *heads, "n", "not a number", "missed")


def _results(summary: Summary, shown: Sequence[str]) -> Lines:
    rows = [
        (label, *_cells([by.get(metric) for metric in shown], shown)) for label, by in summary.labels.items()
    ]
    if len(rows) > 1:
        rows.append(("mean of labels", *_cells([summary.overall.get(m) for m in shown], shown)))
    percent = f"{summary.confidence:.0%}"
    who = f"{plural(summary.cases, 'case')} of {plural(summary.patients, 'patient')}"
    note = f"Means with their {percent} interval over patients. Missed: exactly one mask is empty."
    return Lines(
        f"Results, {summary.part or 'all cases'}: {who}", _columns(("label",), shown), tuple(rows), note
    )


def _cells(found: Sequence[Statistics | None], shown: Sequence[str]) -> tuple[str, ...]:
    told = []
    for metric, own in zip(shown, found, strict=True):
        unit = METRICS[metric].unit
        interval = f" ({span(own.interval, unit)})" if own and own.interval else ""
        told.append(number(own.mean if own else None, unit) + interval)
    first = found[0]
    counts = (first.n, first.n_nan, first.n_missed) if first else (0, 0, 0)
    return (*told, *map(str, counts))


def _groups(
    rows: Sequence[Row],
    shown: Sequence[str],
    settings: EvaluationSettings,
    part: str,
    what: str,
    group_of: Mapping[str, str],
) -> list[Lines]:
    """A table per group of cases and label, where there are two groups or more."""
    names = sorted(set(group_of.values()))
    if len(names) < 2:
        return []
    lines = []
    for name in names:
        for label in dict.fromkeys(row.label for row in rows):
            own = [row for row in rows if group_of.get(row.case) == name and row.label == label]
            found = [statistics([r for r in own if r.metric == metric], settings) for metric in shown]
            lines.append((name or "not given", label, *_cells(found, shown)))
    return [Lines(f"Per {what}, {part}", _columns((what, "label"), shown), tuple(lines))]


def _volumes(
    rows: Sequence[Row], shown: Sequence[str], settings: EvaluationSettings, part: str
) -> list[Lines]:
    """Per quarter of the reference's volume, for labels with four volumes or more."""
    lines = []
    for label in dict.fromkeys(row.label for row in rows):
        own = [row for row in rows if row.label == label]
        volumes = reference_volumes(own)
        if len(volumes) < 4:
            continue
        edges = np.quantile(list(volumes.values()), (0.25, 0.5, 0.75))
        for quarter, name in enumerate(QUARTERS):
            there = {case for case, ml in volumes.items() if np.searchsorted(edges, ml) == quarter}
            if not there:
                continue
            found = [
                statistics([r for r in own if r.metric == metric and r.case in there], settings)
                for metric in shown
            ]
            inside = [volumes[case] for case in there]
            bounds = f"{min(inside):.3g} to {max(inside):.3g} ml"
            lines.append((label, f"{name}, {bounds}", *_cells(found, shown)))
    heading = f"Per quarter of the reference's volume, {part}"
    return [Lines(heading, _columns(("label", "volume"), shown), tuple(lines))] if lines else []


def reference_volumes(rows: Sequence[Row]) -> dict[str, float]:
    """Case -> ml of one label's reference where it has any; of older runs from their volume errors."""
    values = {(row.case, row.metric): row.value for row in rows if row.status != "nan"}
    found = {}
    for case in dict.fromkeys(row.case for row in rows):
        volume = values.get((case, _VOLUME))
        error, share = values.get((case, _ERROR), 0.0), values.get((case, _SHARE), 0.0)
        if volume is None and error > 0 and share > 0:
            volume = error / share
        if volume is not None and math.isfinite(volume) and volume > 0:
            found[case] = volume
    return found
