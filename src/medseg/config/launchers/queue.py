"""What SLURM's queue holds of us."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from typing import NamedTuple


class Place(NamedTuple):
    """A job in the queue: its state, such as RUNNING or PENDING, and why it waits."""

    state: str
    reason: str


def queued(ids: Collection[str]) -> dict[str, Place]:
    """Those of the jobs that are in the queue, running or waiting; none where there is no SLURM."""
    if not ids:
        return {}
    try:
        words = ("squeue", "--noheader", "--array", "--me", "--format=%i|%T|%r")
        shown = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return {}
    found = {}
    for line in shown.stdout.splitlines():
        number, _, rest = line.strip().partition("|")
        state, _, reason = rest.partition("|")
        if number in ids:
            found[number] = Place(state, "" if reason in ("None", "") else reason)
    return found
