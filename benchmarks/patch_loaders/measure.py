"""One measurement in a process of its own: `python -m patch_loaders.measure` with an order on its input.

The last line it prints is the result, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patch_loaders.cases import Case, Volume
from patch_loaders.contract import Opened, Order, loader_of
from patch_loaders.evidence import Evidence
from patch_loaders.processes import cpu_seconds, proportional_mb


@dataclass(frozen=True)
class Limits:
    """How long: the warm-up, then the measurement until ``patches`` and ``seconds`` are reached, or ``most``.

    Attributes:
        warm_patches: at least so many patches first, ...
        warm_seconds: ... unless that takes longer.
        patches: in the measurement.
        seconds: of the measurement.
        most: seconds after which a slow loader need not reach ``patches``.
    """

    warm_patches: int = 12
    warm_seconds: float = 4.0
    patches: int = 40
    seconds: float = 3.0
    most: float = 8.0


class Clock:
    """Patches, wall and CPU time since it was made."""

    def __init__(self) -> None:
        self.patches, self._cpu, self._wall = 0, cpu_seconds(), time.perf_counter()

    @property
    def wall(self) -> float:
        """Seconds."""
        return time.perf_counter() - self._wall

    @property
    def cpu(self) -> float:
        """Seconds of all processes."""
        return cpu_seconds() - self._cpu


def run(order: Order, limits: Limits) -> dict[str, Any]:
    """Measures one loader in one case."""
    import torch

    torch.set_num_threads(1)
    imports = Clock()
    build = loader_of(order.loader).load(order)
    found: dict[str, Any] = {"import_seconds": imports.wall, "imported_mb": _imported_mb()}
    evidence, started = Evidence(order.case), Clock()
    opened = build()
    try:
        image, label = next(opened.batches)
        found |= {"first_batch_seconds": started.wall, "first_batch_cpu_seconds": started.cpu}
        evidence.add(image, label)
        settling = Clock()
        opened.settle()
        found |= {"settle_seconds": settling.wall, "settle_cpu_seconds": settling.cpu}
        # Where a cycle takes longer than the warm-up may, the rest of the first one is enough.
        slow = opened.cycle > len(image) and found["first_batch_seconds"] > limits.warm_seconds
        longest = 0.0 if slow else limits.warm_seconds
        warm = _consume(opened, evidence, len(image), limits.warm_patches, 0, longest)
        steady = _consume(opened, evidence, 0, limits.patches, limits.seconds, limits.most)
        wall, cpu = steady.wall, steady.cpu
    finally:
        opened.close()
    found |= {"warm_patches": warm.patches, "patches": steady.patches, "wall_seconds": wall}
    return found | {"cpu_seconds": cpu, "evidence": evidence.summary()}


def _consume(
    opened: Opened, evidence: Evidence, taken: int, patches: int, seconds: float, most: float
) -> Clock:
    """Takes whole cycles of patches until there are enough; ``taken`` are those of a cycle already begun."""
    clock = Clock()
    while True:
        image, label = next(opened.batches)
        clock.patches += len(image)
        evidence.add(image, label)
        if (clock.patches + taken) % opened.cycle:
            continue
        if (clock.patches >= patches and clock.wall >= seconds) or clock.wall >= most:
            return clock


def _imported_mb() -> float:
    import psutil

    found = proportional_mb(psutil.Process().pid)
    return found[0] if found else psutil.Process().memory_info().rss / 1e6


def encode(order: Order, limits: Limits, job: str) -> str:
    """The input of this program."""
    return json.dumps({"job": job, "order": asdict(order), "limits": asdict(limits)}, default=str)


def decode(text: str) -> tuple[str, Order, Limits]:
    """What `encode` wrote."""
    given = json.loads(text)
    order = given["order"]
    case = order["case"]
    case["volume"] = Volume(**(case["volume"] | {"shape": tuple(case["volume"]["shape"])}))
    case = Case(**(case | {"every_round": tuple(case["every_round"]), "once": tuple(case["once"])}))
    order = Order(order["loader"], case, Path(order["folder"]), order["seed"])
    return given["job"], order, Limits(**given["limits"])


def main() -> None:
    """Prepares or measures."""
    job, order, limits = decode(sys.stdin.read())
    result: dict[str, Any] = {}
    if job == "prepare":
        loader_of(order.loader).prepare(order)
    else:
        result = run(order, limits)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
