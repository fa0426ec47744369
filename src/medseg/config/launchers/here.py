"""Jobs on this machine: one after the other in this process, or several in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from medseg.config.jobs import Job, run_job
from medseg.config.launchers.settings import JoblibLauncher
from medseg.data.machine import usable_cores
from medseg.errors import UserError

TAIL = 4000
"""Bytes of a job's log in which its last line is looked for."""
_OF_SLURM = ("srun: error", "slurmstepd: error")


def run_in_turn(jobs: Sequence[Job]) -> list[int | str]:
    """What each has answered; one that fails does not keep the others from running."""
    answers = []
    for number, job in enumerate(jobs):
        if len(jobs) > 1:
            print(f"job {number + 1} of {len(jobs)}: {job.name}", file=sys.stderr, flush=True)
        answers.append(run_job(job))
    return answers


def run_at_once(jobs: Sequence[Job], settings: JoblibLauncher) -> list[int | str]:
    """What each has answered, a few at a time; what a job says goes to a log beside its file."""
    from joblib import Parallel, delayed

    with tempfile.TemporaryDirectory() as folder:
        tasks = [(job, _file(job, number, Path(folder)), number) for number, job in enumerate(jobs)]
        parallel = Parallel(n_jobs=settings.workers, backend="threading")
        return list(parallel(delayed(_one)(*task, settings, len(jobs)) for task in tasks))


def _file(job: Job, number: int, folder: Path) -> Path:
    file = job.file if job.verb == "train" else folder / f"{number}.yaml"
    job.save(file)
    return file


def _one(job: Job, file: Path, number: int, settings: JoblibLauncher, of: int) -> int | str:
    log = file.with_suffix(".log")
    threads = str(max(1, usable_cores() // min(settings.workers, of)))
    environment = {"OMP_NUM_THREADS": threads} | os.environ
    if settings.gpus:
        # Threads take the jobs in their order, so that neighbours run at once, each on a GPU of its own.
        environment["CUDA_VISIBLE_DEVICES"] = str(number % settings.gpus)
    print(f"job {number + 1} of {of}: {job.name}; log {log}", file=sys.stderr, flush=True)
    with log.open("ab") as target:
        words = [sys.executable, "-m", "medseg.config.jobs", str(file)]
        code = subprocess.run(words, stdout=target, stderr=subprocess.STDOUT, env=environment, check=False)
    if code.returncode in (0, 1):
        return code.returncode
    return last_line(log) or f"job {job.name}: ended with code {code.returncode}; see {log}"


def last_line(log: Path) -> str:
    """The last line of a log that says something; where SLURM tells an error, that."""
    try:
        with log.open("rb") as text:
            text.seek(max(0, log.stat().st_size - TAIL))
            lines = text.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise UserError(str(log), f"cannot be read ({error.strerror})") from None
    said = [line.strip() for line in reversed(lines) if line.strip()]
    return next((line for line in said if line.startswith(_OF_SLURM)), said[0] if said else "")
