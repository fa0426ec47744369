"""Jobs as array jobs of SLURM, written by submitit. Each runs from what was pickled when it was submitted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.config.jobs import SWEEP, Job, run_job
from medseg.config.launchers.queue import queued
from medseg.config.launchers.settings import SlurmLauncher
from medseg.errors import UserError
from medseg.files import write_text
from medseg.training.requeue import OFF

ENDLESS = 1_000_000
"""Times that submitit may queue a job again; that it gets on is watched by `medseg.training.requeue`."""


class Submitted:
    """What a SLURM job runs: the job itself, not its name, so that no file is read again."""

    def __init__(self, job: Job, requeue: bool) -> None:
        self.job, self.requeue = job, requeue

    def __call__(self) -> None:
        """Runs it.

        Raises:
            SystemExit: it failed or was stopped, so that SLURM knows.
        """
        if cpus := os.environ.get("SLURM_CPUS_PER_TASK"):
            os.environ.setdefault("OMP_NUM_THREADS", cpus)
        if not self.requeue:
            os.environ[OFF] = "1"
        answer = run_job(self.job)
        if answer != 0:
            print(answer, file=sys.stderr, flush=True)
            raise SystemExit(answer if isinstance(answer, int) else 2)

    def checkpoint(self) -> Any:
        """Submitit asks for it where a signal comes before the training could take over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self) if self.requeue else None


def submit(jobs: Sequence[Job], settings: SlurmLauncher) -> dict[str, str]:
    """Puts the jobs into the queue, those of the same shape as one array.

    Returns:
        Job name -> id in SLURM.

    Raises:
        UserError: submitit is not installed, there is no SLURM here, or it refuses the job.
    """
    groups: dict[tuple[int, int], list[Job]] = {}
    for job in jobs:
        training = job.config.get("training", {})
        shape = (int(training.get("num_nodes", 1)), int(training.get("devices", 1)))
        groups.setdefault(shape, []).append(job)
    found: dict[str, str] = {}
    for (nodes, tasks), group in groups.items():
        for job, submitted in zip(group, _submitted(group, settings, nodes, tasks), strict=True):
            found[job.name] = str(submitted.job_id)
            if job.verb == "train":
                write_text(job.file.with_suffix(".slurm"), f"{submitted.job_id}\n")
    return found


def _submitted(jobs: Sequence[Job], settings: SlurmLauncher, nodes: int, tasks: int) -> list[Any]:
    """Submitit's own jobs, of one array."""
    executor = _executor(jobs[0], settings, nodes, tasks)
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with executor.batch():
            return [executor.submit(Submitted(job, settings.requeue)) for job in jobs]
    except (FailedJobError, FailedSubmissionError, OSError, subprocess.SubprocessError) as error:
        raise UserError("hydra/launcher=slurm", _reason(error), "see sinfo for what there is") from None


def wait_for(ids: Sequence[str], every: float = 5.0) -> None:
    """Until none of the jobs is in the queue."""
    while queued(ids):
        time.sleep(every)


def _executor(job: Job, settings: SlurmLauncher, nodes: int, tasks: int) -> Any:
    try:
        from submitit import SlurmExecutor
    except ImportError:
        problem = "needs submitit, which is not installed"
        raise UserError("hydra/launcher=slurm", problem, "install medseg[slurm]") from None
    for program in ("sbatch", "srun", "squeue"):
        if shutil.which(program) is None:
            raise UserError("hydra/launcher=slurm", f"there is no {program} here", "log in to the cluster")
    home = job.study if job.verb == "train" else Path(job.folder, "runs")
    folder = home / SWEEP / "slurm"
    if any(not sign.isprintable() for sign in f"{folder}{job.folder}"):
        raise UserError(str(folder), "has a line break or a control character in its name", "rename it")
    executor = SlurmExecutor(folder=folder, max_num_timeout=ENDLESS)
    executor.update_parameters(**_parameters(job, settings, nodes, tasks))
    return executor


def _parameters(job: Job, settings: SlurmLauncher, nodes: int, tasks: int) -> dict[str, Any]:
    """What submitit writes into the batch script."""
    named = ("partition", "account", "qos", "constraint", "exclude", "comment")
    extra: dict[str, Any] = {"requeue" if settings.requeue else "no-requeue": True}
    return {
        "job_name": f"medseg-{job.config.get('name', job.verb)}",
        "time": max(1, round(settings.hours * 60)),
        "nodes": nodes,
        "ntasks_per_node": tasks,
        "cpus_per_task": settings.cpus,
        "mem": f"{round(settings.memory_gb * 1024)}M",
        "array_parallelism": settings.array_parallelism,
        "signal_delay_s": settings.signal_seconds,
        "additional_parameters": extra,
        "srun_args": [f"--cpus-per-task={settings.cpus}"],  # which srun does not take from sbatch by itself
        **({"gpus_per_node": settings.gpus * tasks} if settings.gpus else {}),
        **{name: value for name in named if (value := getattr(settings, name)) is not None},
    }


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "sbatch: error" in line or "rror:" in line]
    return (told or lines or [type(error).__name__])[-1]
