"""The page of a run: ``report.html``, one file that opens anywhere without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.evaluation import report_header as header
from medseg.evaluation import report_parts as parts
from medseg.evaluation.cases import Row, read_cases
from medseg.evaluation.page import render
from medseg.evaluation.pictures import PREDICTION_COLOUR, REFERENCE_COLOUR, CasePicture
from medseg.evaluation.report_sections import agreement, calibration, lesions
from medseg.evaluation.run_files import flat, read_curves, read_parts, read_plan, read_record
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.summary import Summary, summarise
from medseg.files import write_text

_ORDER = ("test", "validation")


def write_report(
    run: Path,
    pictures: Mapping[str, CasePicture] | None = None,
    settings: EvaluationSettings | None = None,
) -> Path:
    """Builds ``report.html`` from what lies in the run's folder.

    Reads ``record.json``, ``config.yaml``, ``plan.yaml`` or ``plan.json``, ``metrics.csv`` and
    ``cases.csv``, and the predictions' ``*_reliability.csv``; what is missing is left out of the page. The
    same files give the same page.

    Args:
        run: the run's folder.
        pictures: images and labels by case id; only the cases that are shown are asked for.
        settings: of the evaluation: tolerance, intervals, how many worst cases.

    Returns:
        The path of the page.

    Raises:
        UserError: a file of the run cannot be understood.
    """
    settings = settings or EvaluationSettings()
    rows = read_cases(run / "cases.csv") if (run / "cases.csv").is_file() else []
    record = read_parts(run) | read_record(run)
    values: dict[str, Any] = {
        "title": header.title(record, run),
        "facts": header.facts(record),
        "command": header.command(record),
        "curves": parts.curves(read_curves(run)),
        "sections": [_section(s, rows, run, pictures or {}, settings) for s in _parts(rows, settings)],
        "plan": parts.plan(read_plan(run)),
        "record": flat({name: value for name, value in record.items() if name != "results"}),
        "reference_colour": REFERENCE_COLOUR,
        "prediction_colour": PREDICTION_COLOUR,
    }
    values["receipts"] = parts.receipts([section["summary"] for section in values["sections"]])
    values["limits"] = header.limits([section["summary"] for section in values["sections"]])
    path = run / "report.html"
    write_text(path, render("report.html.j2", values))
    return path


def _parts(rows: Sequence[Row], settings: EvaluationSettings) -> list[Summary]:
    """The summaries, the test first: it is what the run is judged by."""
    found = summarise(rows, settings)
    names = [name for name in _ORDER if name in found] + [name for name in found if name not in _ORDER]
    return [found[name] for name in names]


def _section(
    summary: Summary,
    rows: Sequence[Row],
    run: Path,
    pictures: Mapping[str, CasePicture],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    own = [row for row in rows if row.part == summary.part]
    return {
        "summary": summary,
        "name": summary.part or "all cases",
        "cards": parts.cards(summary),
        "columns": parts.columns(summary),
        "spreads": parts.spreads(own, summary),
        "agreement": agreement(own, settings.confidence),
        "lesions": lesions(own, summary),
        "calibration": calibration(own, run / "predictions" / summary.part),
        "cases": parts.case_figures(own, pictures, settings.worst_cases),
        "centres": parts.centres(own, settings),
        "every_case": parts.every_case(own),
    }
