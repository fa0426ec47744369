"""From measurements to the table, the verdicts and the two files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from patch_loaders.cases import BARS, GROWTH, Case

Row = Mapping[str, Any]
_COLUMNS = (
    "case",
    "loader",
    "patches/s",
    "patches/CPU-s",
    "spread",
    "ours/it CPU",
    "ours/it wall",
    "peak MB",
    "without files",
    "over imports",
    "import s",
    "first batch s",
    "rounds",
    "foreground",
    "aligned",
    "problems",
)

_ENOUGH, _ALIKE = 32, 2.5


class Results:
    """All measurements of a run: ``case``, ``loader``, ``round``, what `measure.run` found or ``error``."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def of(self, case: str, loader: str) -> list[Row]:
        """The measurements of a loader in a case that did not fail, by round."""
        found = (row for row in self.rows if row["case"] == case and row["loader"] == loader)
        return [row for row in found if "error" not in row]

    def errors(self, case: str, loader: str) -> list[str]:
        """What went wrong, once per kind."""
        found = (row for row in self.rows if row["case"] == case and row["loader"] == loader)
        return sorted({str(row["error"]) for row in found if "error" in row})

    def ratios(self, case: str, loader: str, value: Callable[[Row], float]) -> list[float]:
        """Ours by the loader's, round by round."""
        ours = {row["round"]: row for row in self.of(case, "ours")}
        return [
            value(ours[row["round"]]) / value(row) for row in self.of(case, loader) if row["round"] in ours
        ]


def per_cpu_second(row: Row) -> float:
    """Patches per second of all processes' CPU time."""
    return float(row["patches"] / row["cpu_seconds"])


def per_second(row: Row) -> float:
    """Patches per second of wall time."""
    return float(row["patches"] / row["wall_seconds"])


def table(cases: Iterable[Case], results: Results) -> list[str]:
    """The one table, a row per case and loader."""
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    for case in cases:
        for loader in case.loaders:
            if rows := results.of(case.name, loader):
                lines.append(_line(_cells(case.name, loader, rows, results)))
            elif errors := results.errors(case.name, loader):
                lines.append(_line([case.name, loader, *["-"] * (len(_COLUMNS) - 3), "; ".join(errors)]))
    return lines


def _cells(case: str, loader: str, rows: Sequence[Row], results: Results) -> list[str]:
    speeds = [per_cpu_second(row) for row in rows]
    looked = [row["evidence"] for row in rows]
    peak = median(row["peak_mb"] for row in rows)
    problems = {problem for evidence in looked for problem in evidence["problems"]}
    if _foreground_differs(looked, [row["evidence"] for row in results.of(case, "ours")]):
        problems.add("another share of foreground than ours")
    return [
        case,
        loader,
        _number(median(per_second(row) for row in rows)),
        _number(median(speeds)),
        f"{_number(min(speeds))}-{_number(max(speeds))}",
        "" if loader == "ours" else _ratio(results.ratios(case, loader, per_cpu_second)),
        "" if loader == "ours" else _ratio(results.ratios(case, loader, per_second)),
        f"{peak:.0f}",
        f"{median(row['peak_own_mb'] for row in rows):.0f}",
        f"{peak - median(row['imported_mb'] for row in rows):.0f}",
        _number(median(row["import_seconds"] for row in rows)),
        _number(median(row["first_batch_seconds"] for row in rows)),
        str(len(rows)),
        _share([evidence["foreground"] for evidence in looked]),
        _mean([evidence["together"] for evidence in looked]),
        "; ".join(sorted(problems)) or "none",
    ]


def _foreground_differs(found: Sequence[Row], ours: Sequence[Row]) -> bool:
    """Whether two loaders cannot be cutting the same kind of patches, as far as so few can tell."""
    shares = []
    for evidences in (found, ours):
        if sum(evidence["patches"] for evidence in evidences) < _ENOUGH:
            return False
        shares.append(sum(evidence["foreground"] for evidence in evidences) / len(evidences))
    return not 1 / _ALIKE < shares[0] / max(shares[1], 1e-9) < _ALIKE


def verdicts(cases: Iterable[Case], results: Results) -> list[str]:
    """What must hold, and whether it does."""
    lines = [_line(["what must hold", "bar", "measured", "rounds from-to", "holds"]), _line(["---"] * 5)]
    names = [case.name for case in cases]
    for case in names:
        for peer, bar in BARS.get(case, {}).items():
            ratios = results.ratios(case, peer, per_cpu_second)
            lines.append(_verdict(f"{case}: ours / {peer}, patches per CPU-second", ">=", bar, ratios))
    small, large, bar = GROWTH
    first = {row["round"]: per_cpu_second(row) for row in results.of(small, "ours")}
    growth = [
        first[row["round"]] / per_cpu_second(row)
        for row in results.of(large, "ours")
        if row["round"] in first
    ]
    if small in names and large in names:
        lines.append(_verdict(f"{large} / {small}: ours, CPU time of a patch", "<=", bar, growth))
    for case in names:
        if memory := results.ratios(case, "nnunet", lambda row: float(row["peak_mb"])):
            lines.append(_verdict(f"{case}: ours / nnunet, peak memory", "<=", 1.0, memory))
    return lines


def _verdict(what: str, sign: str, bar: float, values: Sequence[float]) -> str:
    if not values:
        return _line([what, f"{sign} {bar:g}", "not measured", "", ""])
    middle = median(values)
    holds = middle >= bar if sign == ">=" else middle <= bar
    span = f"{_number(min(values))}-{_number(max(values))}"
    return _line([what, f"{sign} {bar:g}", _number(middle), span, "yes" if holds else "NO"])


def compiling(results: Results) -> str:
    """How long medseg's first use on a machine takes, in which its kernels are compiled."""
    row = next((row for row in results.of("compile", "ours")), None)
    if row is None:
        return "medseg's compilation was not measured."
    wall = row["first_batch_seconds"] + row["settle_seconds"]
    cpu = row["first_batch_cpu_seconds"] + row["settle_cpu_seconds"]
    return (
        f"medseg compiles its kernels once per machine and keeps them on disk: the first batch then takes "
        f"{row['first_batch_seconds']:.1f} s ({row['first_batch_cpu_seconds']:.1f} CPU-s), all kernels "
        f"together {wall:.1f} s ({cpu:.1f} CPU-s). The table's first batches read them from there; no other "
        "number contains compilation."
    )


def page(header: Sequence[str], cases: Sequence[Case], results: Results) -> str:
    """The results as Markdown."""
    parts = [*header, "", compiling(results), "", *table(cases, results), "", *verdicts(cases, results), ""]
    return "\n".join(parts)


def header(machine: Mapping[str, Any], notes: str, command: str) -> list[str]:
    """Where, when, with what, and under which rules."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return [
        "# Patches: medseg's queue beside its peers",
        "",
        f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"load average before {machine['load']:.1f}; {machine['system']}; Python {machine['python']}; "
        f"medseg at {machine['commit']}; {versions}.",
        f"Made by `{command}`.",
        "",
        notes.strip(),
    ]


def write(folder: Path, name: str, text: str, machine: Mapping[str, Any], rows: Sequence[Row]) -> Path:
    """Writes NAME.md, and NAME.json with every single measurement; the first one's path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "measurements": list(rows)}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    path = folder / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    return path


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(values: Sequence[float]) -> str:
    return f"{_number(median(values))} x" if values else "-"


def _share(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * sum(known) / len(known):.1f} %" if known else "-"


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.2f}" if known else "-"
