"""The page of ``medseg check``: the cohort in numbers, its findings, and a dozen cases to look at."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.data.checks.case_picture import CasePicture, colours, draw_case
from medseg.data.checks.finding import SEVERITIES, Finding
from medseg.data.checks.summary import CohortSummary, Spread, summarise
from medseg.data.cohort import Case, Cohort
from medseg.data.verify import Inspection
from medseg.files import write_text

NAME = "check.html"
_CASES = 12
_LINES = 100
_WIDTH = {2: 560, 3: 900}
_HEADINGS = {"error": "Errors", "warning": "Warnings", "info": "Good to know"}
_MEANING = {
    "error": "A training refuses to start until these are mended.",
    "warning": "Training goes on; each of these can be acted on.",
    "info": "Nothing to do.",
}


def write_check_page(
    cohort: Cohort, found: Inspection | Sequence[Finding], target: Path, cases: int = _CASES
) -> Path:
    """Writes one HTML file that opens anywhere without a network.

    Args:
        cohort: whose cases are drawn.
        found: what `medseg.data.verify.inspect` gave; with the findings alone the page has no table of
            grids and volumes.
        target: a folder, which gets ``check.html``, or the path of the page (``.html``).
        cases: how many to draw, those with findings first.

    Returns:
        The path of the page.
    """
    path = target if target.suffix.lower() in (".html", ".htm") else target / NAME
    findings = found.findings if isinstance(found, Inspection) else tuple(found)
    summary = found.summary if isinstance(found, Inspection) else summarise(cohort, [])
    chosen = cases_to_show(cohort, findings, cases)
    write_text(path, _render(_values(cohort, findings, summary, chosen)))
    return path


def cases_to_show(cohort: Cohort, findings: Sequence[Finding], count: int) -> list[Case]:
    """The cases of errors, of warnings and of infos, then an even choice of the others, labelled ones first.

    A kind of finding gets a third of the places at most, so that one common fault does not hide the rest.
    """
    by_id = {case.id: case for case in cohort.cases}
    chosen: dict[str, Case] = {}
    places: dict[str, int] = {}
    most = max(1, count // 3)
    for severity in SEVERITIES:
        for finding in findings:
            for case_id in finding.cases if finding.severity == severity else ():
                if case_id in by_id and case_id not in chosen and places.get(finding.kind, 0) < most:
                    places[finding.kind] = places.get(finding.kind, 0) + 1
                    chosen[case_id] = by_id[case_id]
    picked = list(chosen.values())[:count]
    rest = [case for case in cohort.cases if case.id not in chosen]
    for group in ([c for c in rest if c.labelled], [c for c in rest if not c.labelled]):
        picked += _evenly(group, count - len(picked))
    return picked


def _evenly(cases: Sequence[Case], count: int) -> list[Case]:
    if count <= 0 or len(cases) <= count:
        return list(cases) if count > 0 else []
    return [cases[(2 * k + 1) * len(cases) // (2 * count)] for k in range(count)]


def _values(
    cohort: Cohort, findings: Sequence[Finding], summary: CohortSummary, chosen: Sequence[Case]
) -> dict[str, Any]:
    counts = {severity: sum(f.severity == severity for f in findings) for severity in SEVERITIES}
    return {
        "cohort": cohort,
        "summary": summary,
        "counts": counts,
        "grid": _grid(summary, cohort.spatial_dims),
        "unit": _unit(cohort, summary),
        "classes": _classes(cohort, summary),
        "groups": [_group(cohort, severity, findings) for severity in SEVERITIES if counts[severity]],
        "legend": colours(cohort.labels),
        "figures": [_figure(cohort, case, findings) for case in chosen],
        "flat": cohort.spatial_dims == 2,
    }


def _grid(summary: CohortSummary, spatial_dims: int) -> list[tuple[str, Spread, Spread]]:
    """Axis, voxels, mm."""
    if summary.shape is None or summary.spacing is None:
        return []
    rows = list(zip(("first", "second", "third"), summary.shape, summary.spacing, strict=True))
    return rows[:spatial_dims]


def _unit(cohort: Cohort, summary: CohortSummary) -> str:
    """Of class sizes; pictures do not say how large a pixel is, and are read as 1 mm."""
    if cohort.spatial_dims == 3:
        return "ml"
    sizes = {size for row in summary.spacing or () for size in row}
    return "px" if sizes <= {1.0} else "mm²"


def _classes(cohort: Cohort, summary: CohortSummary) -> list[dict[str, Any]]:
    tone = dict(colours(cohort.labels))
    values = dict(zip(cohort.labels.names, cohort.labels.values, strict=True))
    return [
        {"name": c.name, "colour": tone[c.name], "values": values[c.name], "cases": c.cases, "ml": c.ml}
        for c in summary.classes
    ]


def _group(cohort: Cohort, severity: str, findings: Sequence[Finding]) -> dict[str, Any]:
    own = [finding for finding in findings if finding.severity == severity]
    return {
        "severity": severity,
        "heading": _HEADINGS[severity],
        "meaning": _MEANING[severity],
        "count": len(own),
        "lines": [(short(cohort, f.file), _inside(cohort, f.problem), f) for f in own[:_LINES]],
        "more": max(0, len(own) - _LINES),
    }


def short(cohort: Cohort, file: str) -> str:
    """A file as it is seen from the cohort's folder."""
    path, root = Path(file), cohort.root
    if path == root:
        return "the cohort"
    return str(path.relative_to(root)) if path.is_relative_to(root) else file


def _inside(cohort: Cohort, text: str) -> str:
    """A text without the cohort's folder before each file."""
    return text.replace(f"{cohort.root}/", "")


def _figure(cohort: Cohort, case: Case, findings: Sequence[Finding]) -> dict[str, Any]:
    picture = draw_case(cohort, case, _WIDTH[cohort.spatial_dims])
    own = [finding for finding in findings if case.id in finding.cases]
    kinds = dict.fromkeys((finding.kind.replace("-", " "), finding.severity) for finding in own)
    return {
        "case": case,
        "kinds": list(kinds),
        "facts": _facts(cohort, case, picture),
        "source": _source(picture),
        "note": picture.note,
    }


def _facts(cohort: Cohort, case: Case, picture: CasePicture) -> list[str]:
    """What is said of a case under its id."""
    facts = []
    if picture.shape:
        facts += [picture.modality, " × ".join(map(str, picture.shape[: cohort.spatial_dims]))]
        if cohort.spatial_dims == 3:
            facts.append(" × ".join(number(step) for step in picture.spacing) + " mm")
    if case.patient != case.id:
        facts.append(f"patient {case.patient}")
    if case.centre:
        facts.append(f"centre {case.centre}")
    return [*facts, picture.note] if picture.note and picture.png is not None else facts


def _source(picture: CasePicture) -> str | None:
    if picture.png is None:
        return None
    return "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")


def number(value: float) -> str:
    """Three significant digits without an exponent, integers as they are."""
    if value == round(value) and abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plural(count: int, word: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _render(values: Mapping[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medseg.data", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number)
    environment.globals.update(plural=plural)
    return environment.get_template("check.html.j2").render(values)
