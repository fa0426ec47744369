"""One thing that is wrong with a cohort, in one line: which file, which field, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""In the order of telling. A training refuses errors; warnings can be acted on; infos are counts."""

_NAMED = 4


@dataclass(frozen=True)
class Finding:
    """What was found in a file.

    Attributes:
        file: the file, or the cohort's folder where no single file is at fault.
        field: the part of it: ``spacing``, ``affine``, ``voxels``, ``id`` ...
        problem: what is wrong.
        fix: what to do about it.
        severity: ``error``, ``warning`` or ``info``.
        kind: the name of the check, the same for all its findings.
        cases: the ids of the cases it concerns.
    """

    file: str
    field: str
    problem: str
    fix: str
    severity: Severity
    kind: str
    cases: tuple[str, ...] = ()

    def line(self) -> str:
        """The finding as one line of printable characters."""
        text = f"{self.severity}: {self.file}: {self.field}: {self.problem}; {self.fix}"
        return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def named(ids: Sequence[str]) -> str:
    """The first few ids, and how many more there are."""
    shown = ", ".join(ids[:_NAMED])
    return f"{shown} and {len(ids) - _NAMED} more" if len(ids) > _NAMED else shown


def gathered(findings: Iterable[Finding]) -> list[Finding]:
    """Errors one by one; warnings and infos of one kind and field as one line that names the cases.

    The order is by severity, then as they came.
    """
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for number, finding in enumerate(findings):
        alone = (str(number),) if finding.severity == "error" else ()
        groups.setdefault((finding.severity, finding.kind, finding.field, *alone), []).append(finding)
    lines = [_together(group) for group in groups.values()]
    return sorted(lines, key=lambda finding: SEVERITIES.index(finding.severity))


def _together(group: Sequence[Finding]) -> Finding:
    first = group[0]
    cases = tuple(dict.fromkeys(case for finding in group for case in finding.cases))
    others = [case for case in cases if case not in first.cases]
    if not others:
        return first
    return replace(first, problem=f"{first.problem} (so too in {named(others)})", cases=cases)
