"""The choices of ``conf/hydra/launcher/``. Standard library only."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class LocalLauncher:
    """One job after the other, in this process."""

    kind: str = "local"

    def problems(self) -> list[str]:
        """Nothing can be wrong."""
        return []


@dataclass(frozen=True)
class JoblibLauncher:
    """Several processes on this machine.

    Attributes:
        workers: jobs at once.
        gpus: GPUs dealt to the jobs in turn; 0 leaves all visible to each.
    """

    kind: str = "joblib"
    workers: int = 2
    gpus: int = 0

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        found = [f"workers: {self.workers} is less than 1; give 1 or more"] if self.workers < 1 else []
        return found + ([f"gpus: {self.gpus} is negative; give 0 or more"] if self.gpus < 0 else [])


@dataclass(frozen=True)
class SlurmLauncher:
    """An array job.

    Attributes:
        partition: and the fields down to ``comment``: as in sbatch; ``None`` leaves them to the cluster.
        hours: time limit of a job.
        memory_gb: of each node.
        cpus: of each process.
        gpus: of each process.
        array_parallelism: jobs at once.
        signal_seconds: time between the signal to stop and the time limit.
        requeue: whether jobs go back into the queue when they are stopped or preempted.
        wait: whether the command waits for the end of all jobs.
    """

    kind: str = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    comment: str | None = None
    hours: float = 24.0
    memory_gb: float = 16.0
    cpus: int = 4
    gpus: int = 1
    array_parallelism: int = 8
    signal_seconds: int = 120
    requeue: bool = True
    wait: bool = False

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        found = []
        for field in fields(self):
            value = getattr(self, field.name)
            # In a batch script a line break ends the comment that the field is in: the rest would be run.
            if isinstance(value, str) and any(unicodedata.category(sign).startswith("C") for sign in value):
                found.append(f"{field.name}: {value!r} holds a line break or a control character; remove it")
        for name in ("hours", "memory_gb"):
            if not getattr(self, name) > 0:
                found.append(f"{name}: {getattr(self, name)} is not positive; give a number above 0")
        for name in ("cpus", "array_parallelism", "signal_seconds"):
            if getattr(self, name) < 1:
                found.append(f"{name}: {getattr(self, name)} is less than 1; give 1 or more")
        if self.gpus < 0:
            found.append(f"gpus: {self.gpus} is negative; give 0 or more")
        if self.hours > 0 and self.signal_seconds >= self.hours * 3600:
            problem = f"{self.signal_seconds} s are not before a time limit of {self.hours:g} hours"
            found.append(f"signal_seconds: {problem}; give less")
        return found


Launcher = LocalLauncher | JoblibLauncher | SlurmLauncher
_HERE = "medseg.config.launchers.settings"
LAUNCHERS = {kind: f"{_HERE}.{kind.title()}Launcher" for kind in ("local", "joblib", "slurm")}
"""Kind -> its settings."""
