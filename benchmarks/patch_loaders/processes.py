"""What a tree of processes costs: CPU time from within, memory from outside."""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path

import psutil


def cpu_seconds() -> float:
    """User and system time of this process, of children that ended, and of all living descendants."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # A worker that lives on has its own ended children in these fields (Linux).
        total += times.user + times.system
    return total


class MemoryWatch:
    """Samples the memory of a process and its descendants until it is left.

    Proportional set size: memory that processes share is counted once. It has the pages of mapped files in
    it, which the system takes back when it needs them; ``peak_own_mb`` is without. Where the system has no
    such numbers, the resident set size, which counts what is shared in every process.

    Attributes:
        peak_mb: the largest sum seen, MB.
        peak_own_mb: the largest sum of what is in no file, MB.
        kind: ``"PSS"`` or ``"RSS"``.
    """

    def __init__(self, pid: int, interval: float = 0.5) -> None:
        self.pid, self.interval = pid, interval
        self.peak_mb, self.peak_own_mb, self.kind = 0.0, 0.0, "PSS"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            sizes = [self._of(process) for process in self._tree()]
            self.peak_mb = max(self.peak_mb, sum(all_of_it for all_of_it, _ in sizes))
            self.peak_own_mb = max(self.peak_own_mb, sum(own for _, own in sizes))
            self._over.wait(self.interval)

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _of(self, process: psutil.Process) -> tuple[float, float]:
        try:
            if found := proportional_mb(process.pid):
                return found
            self.kind = "RSS"
            resident = process.memory_info().rss / 1e6
        except (psutil.NoSuchProcess, psutil.ZombieProcess, ProcessLookupError):
            return 0.0, 0.0
        return resident, resident


def proportional_mb(pid: int) -> tuple[float, float] | None:
    """Proportional set size in MB, all of it and without mapped files; ``None`` where it is not known."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, PermissionError):
        return None
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Pss")}
    if "Pss_Anon" not in sizes:
        return None
    kb = {name: float(size) for name, size in sizes.items()}
    return kb["Pss"] * 1.024e-3, (kb["Pss_Anon"] + kb["Pss_Shmem"]) * 1.024e-3
