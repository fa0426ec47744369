"""A SLURM job that was asked to stop goes back into the queue, with the same id and the same run folder."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from medseg.files import write_text
from medseg.training.checkpoints import generations

OFF = "MEDSEG_NO_REQUEUE"
"""The variable that keeps a job from queueing itself again."""
IN_VAIN = 3
"""Times that a job may be queued again without a step between."""
_PATIENCE = 60.0


def queue_again(checkpoints: Path) -> bool:
    """Puts this SLURM job back into the queue and waits for SLURM to end it.

    Not where it was cancelled, where it is no batch job, or where it was queued `IN_VAIN` times without
    getting any further: its time limit is then shorter than its start takes.

    Args:
        checkpoints: the run's, to see whether it got on.

    Returns:
        Whether SLURM took it; then SLURM may be about to end this process.
    """
    job = _job()
    if job is None or os.environ.get(OFF) or not _running(job) or not _got_on(checkpoints):
        return False
    done = _scontrol("requeue", job)
    if done is None or done.returncode:
        return False
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:  # a process that ends by itself now might still count as the job's end
        time.sleep(0.5)
    return True


def _job() -> str | None:
    """The id of the job, or of the task of an array."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def _running(job: str) -> bool:
    """Whether SLURM still wants it to run, and could start it again."""
    shown = _scontrol("show", "job", "--oneliner", job)
    words = shown.stdout.split() if shown is not None else []
    return "JobState=RUNNING" in words and "BatchFlag=1" in words


def _scontrol(*words: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            ("scontrol", *words), capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _got_on(checkpoints: Path) -> bool:
    """Whether there is another checkpoint than at the last times; counts the times."""
    newest = next((path.name for path in generations(checkpoints)), "none")
    counter = checkpoints.parent / ".requeued"
    name, _, times = counter.read_text(encoding="utf-8").partition(" ") if counter.exists() else ("", "", "")
    count = int(times) + 1 if name == newest and times.isdigit() else 1
    write_text(counter, f"{newest} {count}")
    return count <= IN_VAIN
