"""Trainings on several ranks, started by the tests as torchrun would start them."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from faults.conftest import Forks

PARTS = Path(__file__).parents[1] / "faults"
BREAKING = ["--allow", "broken_parts", "--config-dir", str(PARTS / "broken"), "train"]
"""Instead of ``train``: admits the loss of `broken_parts`."""


def breaking(words: list[str]) -> list[str]:
    """The command with a loss that breaks when it is told to."""
    return [*BREAKING, *words[1:], "loss=breaking", "objective.deep_supervision=false"]


def start(forks: Forks, words: list[str], world: int, **environment: str) -> list[int]:
    """The processes of a training on ``world`` ranks, told their places as torchrun tells them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = environment | {
        "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    asked = [*words, f"training.devices={world}"]
    return [forks.start(asked, **shared, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(world)]


def run(forks: Forks, words: list[str], world: int, **environment: str) -> list[int]:
    """The exit codes."""
    return [forks.wait(process) for process in start(forks, words, world, **environment)]


def kill_after(forks: Forks, words: list[str], world: int, folder: Path, checkpoints: int) -> list[int]:
    """SIGKILL to the last rank as soon as so many checkpoints have been written; the exit codes."""
    processes = start(forks, words, world)
    deadline, seen = time.monotonic() + 300, set[str]()
    while len(seen) < checkpoints:
        assert forks.runs(processes[0]), forks.log.read_text()[-2000:]
        assert time.monotonic() < deadline, "no checkpoint came"
        seen |= {path.name for path in (folder / "checkpoints").glob("*.ckpt")}
        time.sleep(0.005)
    return [forks.kill(processes[-1]), *(forks.wait(process) for process in processes[:-1])]


def told(forks: Forks, since: int) -> str:
    """What all processes have printed since."""
    return forks.log.read_bytes()[since:].decode()


def now(forks: Forks) -> int:
    """The end of what has been printed."""
    return forks.log.stat().st_size if forks.log.exists() else 0


def record(run: Path) -> dict[str, Any]:
    """Of a run's folder."""
    found: dict[str, Any] = json.loads((run / "record.json").read_text())
    return found
