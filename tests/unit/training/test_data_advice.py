"""The whole table: workers x cores x device x place of the augmentation x share x what dominates."""

from __future__ import annotations

import math
from itertools import product

import pytest

from medseg.training.data_advice import LITTLE, Loading, advice, percent, remedy

TABLE = [
    Loading(share, workers, cores, gpu, place, reading, augmenting)
    for share, workers, cores, gpu, place, (reading, augmenting) in product(
        (0.0, 0.019, 0.02, 0.23, 0.7, 0.99, 1.0),
        (0, 1, 2, 7, 16, 40),
        (1, 2, 8, 16),
        (False, True),
        (None, "cpu", "device"),
        ((None, None), (0.001, 0.004), (0.004, 0.001)),
    )
]


def test_each_cell_names_the_knob_that_can_still_be_turned() -> None:
    for loading in TABLE:
        told = remedy(loading)
        if loading.share < LITTLE:
            assert told == "nothing to do", loading
            continue
        free = loading.workers < loading.most_workers
        enough = loading.workers_needed <= loading.most_workers
        reads = loading.reading is not None and loading.reading > (loading.augmenting or 0.0)
        assert ("raise training.workers" in told) == free, loading
        assert ("in use;" in told) == (not free), loading
        rest = {
            "faster storage": reads or loading.augment_on == "device",
            "queue=patch": not reads and loading.augment_on is None,
            "queue.augment_on=device": not reads and loading.augment_on == "cpu" and loading.gpu,
            "augmentation=light": not reads and loading.augment_on == "cpu" and not loading.gpu,
        }
        for word, wanted in rest.items():
            assert (word in told) == (wanted and not (free and enough)), (loading, word)
        assert "\n" not in told


def test_workers_asked_for_are_more_than_now_and_no_more_than_there_is_room_for() -> None:
    for loading in TABLE:
        told = remedy(loading)
        if "raise training.workers" in told:
            asked = int(told.partition(" to ")[2].split()[0])
            assert loading.workers < asked <= loading.most_workers
        assert loading.most_workers <= loading.cores


@pytest.mark.parametrize(
    ("loading", "line"),
    [
        (Loading(0.004, 1, 16, True), "0.4 % of the time for data: nothing to do"),
        (
            Loading(0.23, 1, 16, False, "cpu"),
            "23 % of the time for data: raise training.workers from 1 to 2 (1 of 16 cores in use)",
        ),
        (
            Loading(0.5, 0, 4, False, "cpu"),
            "50 % of the time for data: raise training.workers from 0 to 1 (none of 4 cores in use)",
        ),
        (
            Loading(0.9, 4, 16, True, "cpu"),
            "90 % of the time for data: raise training.workers from 4 to 15 (4 of 16 cores in use) "
            "and set queue.augment_on=device",
        ),
        (
            Loading(0.1, 2, 2, False, "cpu", 0.003, 0.001),
            "10 % of the time for data: all 2 cores are in use; put data.cache on faster storage "
            "(reading is 75 % of a patch's time)",
        ),
        (
            Loading(0.3, 15, 16, True, "cpu", movable=False),
            "30 % of the time for data: all 16 cores are in use; "
            "choose a cheaper augmentation, such as augmentation=light",
        ),
        (Loading(0.3, 0, 1, False), "30 % of the time for data: the only core is in use; use queue=patch"),
    ],
)
def test_the_line_at_the_end_of_a_training(loading: Loading, line: str) -> None:
    assert advice(loading) == f"the step waited {line}"


def test_nothing_measured_is_told_as_that() -> None:
    assert advice(Loading(math.nan, 1, 2, False)).startswith("too few steps")


@pytest.mark.parametrize(
    ("workers", "made", "used"), [(1, 1.0, 3.5), (2, 1.0, 3.0), (4, 0.5, 2.6), (0, 1.0, 2.5)]
)
def test_the_workers_needed_make_as_many_as_are_used(workers: int, made: float, used: float) -> None:
    """``made``: batches per second of each worker; ``used``: by steps that never wait."""
    batch, step = 1 / (made * max(workers, 1)), 1 / used
    period = step + batch if workers == 0 else max(step, batch)
    needed = Loading(1 - step / period, workers, 16, True).workers_needed
    assert needed * made >= used - 1e-9
    assert (needed - 1) * made < used


@pytest.mark.parametrize(("share", "told"), [(0, "0.0 %"), (0.0991, "9.9 %"), (0.0996, "10 %"), (1, "100 %")])
def test_shares_as_people_read_them(share: float, told: str) -> None:
    assert percent(share) == told
