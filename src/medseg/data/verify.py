"""Verification of a cohort before a training may start: every fault of every file, one line each."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from medseg.data.checks.absences import absence_findings
from medseg.data.checks.case import CaseFacts, look
from medseg.data.checks.finding import Finding, gathered
from medseg.data.checks.identity import id_findings, twin_findings
from medseg.data.checks.patients import patient_findings
from medseg.data.checks.summary import CohortSummary, summarise
from medseg.data.cohort import Cohort
from medseg.data.machine import usable_cores
from medseg.data.splits import Split

__all__ = ["CohortSummary", "Finding", "Inspection", "inspect", "verify"]

_MOST = 8
"""Cases in memory at once."""


@dataclass(frozen=True)
class Inspection:
    """What one pass over a cohort has shown.

    Attributes:
        findings: errors first, then warnings, then infos.
        summary: the cohort in numbers.
    """

    findings: tuple[Finding, ...]
    summary: CohortSummary

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that a training refuses."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def verify(cohort: Cohort, split: Split | None = None, progress: bool = True) -> list[Finding]:
    """Everything that is wrong with a cohort; an empty list where nothing is.

    Args:
        cohort: whose files are all read, once. (Labels hidden by `Cohort.without_labels` are not.)
        split: whose folds are checked against the patients too.
        progress: show a bar, where there is a terminal.
    """
    return list(inspect(cohort, split, progress).findings)


def inspect(cohort: Cohort, split: Split | None = None, progress: bool = True) -> Inspection:
    """The findings of `verify` and the cohort in numbers. Broken files are found, never raised."""
    facts = _look_at_all(cohort, progress)
    found = [
        *id_findings(cohort.root, cohort.cases),
        *patient_findings(cohort, split),
        *(finding for known in facts for finding in known.findings),
        *twin_findings(cohort.cases, facts, split),
        *absence_findings(cohort, facts),
    ]
    return Inspection(tuple(gathered(found)), summarise(cohort, facts))


def _look_at_all(cohort: Cohort, progress: bool) -> list[CaseFacts]:
    """The facts of every case, in order.

    Threads rather than processes: unpacking, counting and hashing leave the interpreter free, and
    small scans are read sooner than a process starts.
    """
    task = partial(look, labels=cohort.labels, spatial_dims=cohort.spatial_dims)
    # Readers silence warnings file by file, which between threads could outlast them.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(_MOST, usable_cores())) as pool:
        return list(_shown(pool.map(task, cohort.cases), cohort.cases, progress))


def _shown(done: Iterable[CaseFacts], cases: Sequence[object], progress: bool) -> Iterable[CaseFacts]:
    from rich.console import Console
    from rich.progress import track

    hidden = not (progress and sys.stderr.isatty())
    return track(done, "Checking", len(cases), console=Console(stderr=True), transient=True, disable=hidden)
