"""``medseg status STUDY``: which runs are done, at work, waiting, stopped, failed or lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.table import Table

from medseg.config.jobs import SWEEP
from medseg.config.preflight import wide_console
from medseg.config.study import BUSY, DONE, RunState, states


def status(study: str) -> int:
    """Prints a table and how to go on.

    Returns:
        0 where every run is done, 1 otherwise.
    """
    folder = Path(study)
    found = states(folder)
    console = wide_console()
    console.print(_table(found))
    counts = Counter(state.state for state in found)
    console.print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no runs")
    swept = any((folder / SWEEP / f"{state.id}.yaml").exists() for state in found if state.state not in BUSY)
    if swept:
        console.print(f"to go on: medseg train resume={folder}", soft_wrap=True)
    return 0 if found and all(state.state == DONE for state in found) else 1


def _table(found: list[RunState]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("run", "differs in", "state"):
        table.add_column(name, overflow="fold")
    table.add_column("step", justify="right")
    table.add_column("why", overflow="fold")
    for state in found:
        step = f"{state.step} of {state.steps or '?'}" if state.step or state.steps else ""
        table.add_row(state.id, state.name, state.state, step, state.note)
    return table
