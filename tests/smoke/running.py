"""Trainings in processes of their own, and what two runs have in common."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from medseg.tracking.local import read_metrics
from medseg.training.waiting import NAME as DATA_WAIT


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "weights.safetensors")


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def checkpoint(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of the newest checkpoint: network, teacher and optimizer."""
    newest = max((run / "checkpoints").glob("*.ckpt"))
    state = torch.load(newest, weights_only=True, map_location="cpu")
    found = dict(state["state_dict"])
    for place, kept in enumerate(state["optimizer_states"]):
        for key, values in kept["state"].items():
            found |= {f"{place}.{key}.{name}": torch.as_tensor(value) for name, value in values.items()}
    return found


def numbers(run: Path) -> list[tuple[int, str, float | None]]:
    """Every logged number; of a timing only that it is there, as no two runs take the same time."""
    rows = read_metrics(run / "metrics.csv")
    return [(row["step"], row["name"], None if row["name"] == DATA_WAIT else row["value"]) for row in rows]


def started(words: list[str], threads: str) -> subprocess.Popen[bytes]:
    """A process of its own, where torch chooses so many threads."""
    return subprocess.Popen(
        [sys.executable, "-m", "medseg.cli", *words],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": threads},
    )


def kill_at(words: list[str], run: Path, checkpoints: int, threads: str) -> None:
    """Kills a training as soon as so many checkpoints have been written."""
    process = started(words, threads)
    deadline, seen = time.monotonic() + 300, set[str]()
    while len(seen) < checkpoints:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint came"
        seen |= {path.name for path in (run / "checkpoints").glob("*.ckpt")}
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
