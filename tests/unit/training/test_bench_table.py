"""What follows from measured speeds: the expected wait, and the choice."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from medseg.training.bench_table import Bench, PatchCost, Row, best, print_bench
from medseg.training.queue_speed import Speed


def row(workers: int, per_second: float, step: float, place: str | None = "cpu") -> Row:
    """A row in which a step takes ten patches."""
    return Row(Speed(workers, 100, 100 / per_second, 1.0, 0.1, 500.0), place, 10, step)


def bench(*rows: Row, device: str = "cpu", cores: int = 4) -> Bench:
    cost = PatchCost(0.001, 0.002, 0.003)
    return Bench("kidney", 20, (32, 32, 16), device, cores, 2.0, cost, rows)


def test_without_workers_the_step_waits_for_every_patch() -> None:
    assert row(0, per_second=10, step=1.0).wait == pytest.approx(0.5)
    assert row(1, per_second=10, step=1.0).wait == 0
    assert row(1, per_second=5, step=1.0).wait == pytest.approx(0.5)
    assert row(2, per_second=20, step=1.0).wait == 0


@given(
    speeds=st.lists(st.floats(0.1, 1e4), min_size=1, max_size=6),
    step=st.floats(1e-3, 10),
)
def test_the_best_is_nearly_the_fastest_and_asks_for_no_worker_in_vain(
    speeds: list[float], step: float
) -> None:
    rows = [row(workers, speed, step) for workers, speed in enumerate(speeds)]
    chosen, fastest = best(rows), min(r.period for r in rows)
    assert chosen.period <= fastest / 0.98 + 1e-12
    assert all(r.period > fastest / 0.98 - 1e-12 for r in rows if r.speed.workers < chosen.speed.workers)


def test_the_place_of_the_augmentation_is_chosen_by_the_time_of_the_whole_step() -> None:
    """On the device patches come faster, and the step has more to do."""
    slow = [row(1, 10, 0.5), row(4, 15, 0.5)]
    found = bench(*slow, row(1, 40, 0.52, "device"), device="cuda")
    assert found.recommendation.startswith("recommended: training.workers=1 queue.augment_on=device; ")
    found = bench(row(4, 40, 0.5), row(4, 40, 0.52, "device"), device="cuda")
    assert found.recommendation.startswith("recommended: training.workers=4 queue.augment_on=cpu; ")


def test_a_wait_that_remains_is_told_with_what_to_do() -> None:
    found = bench(row(0, 10, 0.1, None), row(4, 20, 0.1, None))
    assert found.recommendation == (
        "recommended: training.workers=4; the step then waits about 80 % of the time for data: "
        "all 4 cores are in use; use queue=patch"
    )


def test_the_table_fits_and_the_numbers_are_json() -> None:
    found = bench(row(0, 10, 0.1), row(4, 20.123456, 0.1), row(4, 20, 0.1, "device")).with_check(0.12)
    text = io.StringIO()
    print_bench(found, Console(file=text, width=110))
    lines = text.getvalue().splitlines()
    assert all(len(line) <= 110 for line in lines if "recommended" not in line)
    assert any("patches/CPU-s" in line and "augment_on" in line for line in lines)
    assert "one thread makes a patch in 6.00 ms: reading 1.00, spatial 2.00, intensity 3.00" in lines
    numbers = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert numbers["rows"][0]["expected_wait"] == pytest.approx(10 / 11)
    assert numbers["checked_step_seconds"] == 0.12
    assert bench(row(0, 10, 0.1)).to_json()["checked_step_seconds"] is None
