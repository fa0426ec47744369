"""Where the runs of a study stand, seen from their folders and from SLURM's queue; imports nothing heavy."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config.jobs import SWEEP, Job, load
from medseg.config.launchers.here import last_line
from medseg.config.launchers.queue import Place, queued
from medseg.errors import UserError

DONE, RUNNING, QUEUED, NEW, STOPPED, FAILED, LOST = (
    "done", "running", "queued", "new", "stopped", "failed", "lost"
)  # fmt: skip
BUSY = (DONE, RUNNING, QUEUED)
"""States in which nothing is to be submitted."""


@dataclass(frozen=True)
class RunState:
    """Where one run stands.

    Attributes:
        id: the run's folder.
        name: what tells it from the others.
        state: ``done``; ``running``, a process holds its lock; ``queued`` by SLURM; ``new``, never begun;
            ``stopped`` by a signal; ``failed``, it has said why; ``lost``, it has ended without a word.
        step: of the newest checkpoint.
        steps: of the whole training, ``None`` while it is not known.
        note: the reason, in one line.
    """

    id: str
    name: str
    state: str
    step: int
    steps: int | None
    note: str


def jobs_of_study(study: Path) -> list[Job]:
    """The frozen jobs of a study's sweeps.

    Raises:
        UserError: one was edited.
    """
    return [load(file) for file in sorted((study / SWEEP).glob("*.yaml"))]


def states(study: Path, jobs: Iterable[Job] | None = None) -> list[RunState]:
    """All runs of a study, those of its sweeps and those that were started alone.

    Raises:
        UserError: there is no such study.
    """
    if not study.is_dir():
        raise UserError(str(study), "is no study", "give runs/NAME")
    known = {job.id: job for job in (jobs_of_study(study) if jobs is None else jobs)}
    alone = {p.parent.name for p in study.glob("*/record.json") if not p.parent.name.startswith(".")}
    names = [*known, *sorted(alone - known.keys())]
    numbers = {name: number for name in names if (number := _number(study, name))}
    places = queued(set(numbers.values()))
    return [
        state_of(study, name, known[name].name if name in known else "", numbers.get(name), places)
        for name in names
    ]


def state_of(
    study: Path, name: str, varied: str, number: str | None, places: Mapping[str, Place]
) -> RunState:
    """One run: ``number`` is its job's in SLURM, ``places`` the queue."""
    run, place = study / name, places.get(number or "")
    record = _record(run)
    step = max((int(file.name[:8]) for file in (run / "checkpoints").glob("[0-9]*.ckpt")), default=0)

    def made(state: str, note: str = "") -> RunState:
        told = varied or " ".join(record.get("overrides", []))
        return RunState(name, told, state, step, record.get("steps"), note)

    if record.get("status") == "finished":
        return made(DONE)
    if place is not None and place.state == "PENDING":
        return made(QUEUED, f"job {number}" + (f", {place.reason}" if place.reason else ""))
    if place is not None or locked(run):
        return made(RUNNING, f"job {number}" if place is not None else "")
    if record.get("status") in (STOPPED, FAILED):
        return made(record["status"], str(record.get("reason", "")))
    logs = [study / SWEEP / f"{name}.log", study / SWEEP / "slurm" / f"{number}_0_log.err"]
    said = next((last_line(log) for log in logs if log.is_file()), "")
    if not record and not said and number is None:
        return made(NEW)
    return made(LOST, f"ended without a word{f'; its log ends: {said}' if said else ''}")


def locked(run: Path) -> bool:
    """Whether a process is at work in the run's folder."""
    try:
        handle = os.open(run / ".lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, and given back at once: whoever wants the folder just then tries again.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _number(study: Path, name: str) -> str | None:
    try:
        return (study / SWEEP / f"{name}.slurm").read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def _record(run: Path) -> dict[str, Any]:
    try:
        found = json.loads((run / "record.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        return {"status": FAILED, "reason": f"record.json is not JSON ({error})"}
    return dict(found)
