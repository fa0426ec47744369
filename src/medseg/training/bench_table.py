"""What ``medseg bench data`` found: the rows, what follows from them, the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from medseg.training.data_advice import LITTLE, Loading, percent, remedy
from medseg.training.queue_speed import Speed


@dataclass(frozen=True)
class Row:
    """One number of workers.

    Attributes:
        speed: of the queues alone.
        augment_on: ``queue.augment_on``, ``None`` for a queue without it.
        step_patches: patches that a training step uses.
        step_seconds: of a training step whose batch is there already.
    """

    speed: Speed
    augment_on: str | None
    step_patches: int
    step_seconds: float

    @property
    def data_seconds(self) -> float:
        """How long the patches of a step take to make."""
        return self.step_patches / self.speed.per_second

    @property
    def period(self) -> float:
        """Seconds from step to step: workers make patches beside the step, without them one waits."""
        if self.speed.workers == 0:
            return self.step_seconds + self.data_seconds
        return max(self.step_seconds, self.data_seconds)

    @property
    def wait(self) -> float:
        """The share of the time in which the step is expected to wait for data."""
        return 1 - self.step_seconds / self.period

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        derived = {
            "patches_per_second": self.speed.per_second,
            "patches_per_cpu_second": self.speed.per_cpu_second if self.speed.cpu_seconds else None,
            "step_seconds": self.step_seconds,
            "expected_wait": self.wait,
        }
        return {"augment_on": self.augment_on} | asdict(self.speed) | derived


def best(rows: Sequence[Row]) -> Row:
    """The fastest row; of those nearly as fast, the one with the fewest workers."""
    fastest = min(row.period for row in rows)
    able = [row for row in rows if row.period * (1 - LITTLE) <= fastest]
    return min(able, key=lambda row: row.speed.workers)


@dataclass(frozen=True)
class PatchCost:
    """Seconds of one patch, made by one thread.

    Attributes:
        reading: finding the place, reading the region and copying it, without any augmentation.
        spatial: what turning, scaling, bending and mirroring add to that.
        intensity: what all other changes add.
    """

    reading: float
    spatial: float
    intensity: float


@dataclass(frozen=True)
class Bench:
    """All that was measured.

    Attributes:
        cohort: its name.
        cases: training cases that patches were drawn from.
        patch: voxels per axis.
        device: where the steps ran.
        cores: that this process may use.
        cold_first_batch: seconds until the first batch of the process, compiling included.
        cost: of one patch.
        rows: one per number of workers.
        checked: measured seconds per step with the recommended workers at work; not a number where not.
    """

    cohort: str
    cases: int
    patch: tuple[int, ...]
    device: str
    cores: int
    cold_first_batch: float
    cost: PatchCost
    rows: tuple[Row, ...]
    checked: float = math.nan

    @property
    def best(self) -> Row:
        """The recommended row."""
        return best(self.rows)

    def with_check(self, seconds: float) -> Bench:
        """Itself, with the measured time of a step under the recommendation."""
        return replace(self, checked=seconds)

    @property
    def recommendation(self) -> str:
        """The choices to make, and what remains to be done."""
        row = self.best
        words = f"training.workers={row.speed.workers}"
        if len({other.augment_on for other in self.rows}) > 1:
            words += f" queue.augment_on={row.augment_on}"
        line = f"recommended: {words}; the step then waits about {percent(row.wait)} of the time for data"
        cost = self.cost
        loading = Loading(
            row.wait,
            row.speed.workers,
            self.cores,
            self.device != "cpu",
            row.augment_on,
            cost.reading,
            cost.spatial + cost.intensity,
            movable=any(other.augment_on == "device" for other in self.rows),
        )
        return line if row.wait < LITTLE else f"{line}: {remedy(loading)}"

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        row = self.best
        return {
            "cohort": self.cohort,
            "cases": self.cases,
            "patch_size": list(self.patch),
            "patches_per_step": row.step_patches,
            "device": self.device,
            "cores": self.cores,
            "cold_first_batch_seconds": self.cold_first_batch,
            "seconds_per_patch": asdict(self.cost),
            "rows": [row.to_json() for row in self.rows],
            "recommended": {"workers": row.speed.workers, "augment_on": row.augment_on},
            "checked_step_seconds": None if math.isnan(self.checked) else self.checked,
        }


def print_bench(found: Bench, console: Console) -> None:
    """The table and the lines below it."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    size = " x ".join(map(str, found.patch))
    cores = "1 core" if found.cores == 1 else f"{found.cores} cores"
    row = found.best
    say(f"{found.cohort}: patches of {size} from {found.cases} cases, {row.step_patches} per step; {cores}")
    console.print(_table(found))
    parts = asdict(found.cost)
    total = sum(parts.values())
    told = ", ".join(f"{name} {_milliseconds(value)}" for name, value in parts.items())
    say(f"one thread makes a patch in {_milliseconds(total)} ms: {told}")
    cold = f"{found.cold_first_batch:.2g} s"
    say(f"the first batch of a new process comes after {cold}, compiled kernels included")
    steps = {row.augment_on: row.step_seconds for row in found.rows}
    for place, seconds in steps.items():
        beside = f" and augmentation on the {place}" if len(steps) > 1 else ""
        say(f"a training step takes {seconds:.3g} s on the {found.device} with its batch at hand{beside}")
    say(found.recommendation)
    if not math.isnan(found.checked):
        say(f"checked: with these workers at work a step takes {found.checked:.3g} s, waiting included")


def _table(found: Bench) -> Table:
    several = len({row.augment_on for row in found.rows}) > 1
    table = Table(box=box.SIMPLE)
    heads = ["workers", "patches/s", "patches/CPU-s", "first batch s", "memory MB", "expected wait"]
    for head in (["augment_on"] if several else []) + heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in found.rows:
        speed = row.speed
        cells = [
            str(speed.workers), f"{speed.per_second:.4g}", f"{speed.per_cpu_second:.4g}",
            f"{speed.first_batch:.2g}", f"{speed.memory_mb:.0f}", percent(row.wait),
        ]  # fmt: skip
        table.add_row(*([str(row.augment_on)] if several else []), *cells)
    return table


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f}"
