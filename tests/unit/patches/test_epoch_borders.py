"""The next epoch is prepared while the consumer is busy between two; the stream is the same."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from itertools import islice

import pytest

from medseg.patches.interface import Crew, Part
from medseg.patches.patch_queue import PatchQueue

from .number_queue import AHEAD, SIZE, STEPS, Numbers, a_loader, expected, given, threads, through, until
from .plans import volume_plan


@pytest.mark.parametrize("endless", [False, True])
def test_places_of_a_part(endless: bool) -> None:
    part = Part(4, 1, 3, 2, endless=endless)
    assert list(islice(part.places(), 7)) == [(4, 1), (4, 2), *([(5, 0), (5, 1), (5, 2)] * endless),
                                              *([(6, 0), (6, 1)] * endless)]  # fmt: skip
    assert list(Part(4, 0, 0, 2, endless=endless).places()) == []


def test_the_default_queue_goes_on_over_the_border(make_queue: Callable[..., PatchQueue]) -> None:
    queue = make_queue(volume_plan())
    batches = queue.batches(Part(0, 1, 2, 2, endless=True), Crew())
    assert [next(batches).index.tolist() for _ in range(3)] == [
        [[0, 2], [0, 3]], [[1, 0], [1, 1]], [[1, 2], [1, 3]]
    ]  # fmt: skip


def test_the_next_epoch_is_begun_before_it_is_asked_for_and_no_further() -> None:
    queue = Numbers()
    loader = a_loader(queue)
    for epoch in range(4):
        assert through(loader) == expected(epoch)
        prepared = [(epoch + 1, n) for n in range(AHEAD * SIZE)]
        until(lambda wanted=prepared: set(wanted) <= set(queue.made))
        time.sleep(0.02)
        assert len(queue.made) == (epoch + 1) * STEPS * SIZE + AHEAD * SIZE
        assert loader.state_dict() == {"epoch": epoch + 1, "batch": 0}
        assert loader.batches_given == (epoch + 1) * STEPS
    assert len(set(queue.made)) == len(queue.made), "what was prepared is used"
    loader.close()
    assert threads() == 0


def test_a_consumer_that_never_finishes_an_iterator_is_served_ahead_too() -> None:
    """Lightning counts the batches, so the end of an iterator is never reached."""
    queue = Numbers()
    loader = a_loader(queue)
    found, kept = [], []
    for epoch in range(3):
        loader.set_epoch(epoch)
        kept.append(iter(loader))
        found += [sample for batch in islice(kept[-1], STEPS) for sample in given(batch)]
    assert found == [sample for epoch in range(3) for sample in expected(epoch)]
    assert len(set(queue.made)) == len(queue.made)
    kept.clear()
    assert through(loader) == expected(2), "no one said that the third epoch was over"
    loader.close()
    assert threads() == 0


def test_what_was_prepared_for_another_place_is_dropped() -> None:
    loader = a_loader(Numbers())
    assert through(loader) == expected(0)
    loader.set_epoch(7)
    assert through(loader) == expected(7)
    loader.load_state_dict({"epoch": 8, "batch": 3})
    assert through(loader) == expected(8, first=3)
    assert through(loader) == expected(9)
    loader.load_state_dict({"epoch": 9, "batch": 0})
    assert through(loader) == expected(9)
    assert threads() == 2
    loader.close()
    assert through(loader) == expected(10), "it can still be used"
    loader.close()
    assert threads() == 0


def test_leaving_an_epoch_ends_its_threads_and_the_epoch_begins_anew() -> None:
    loader = a_loader(Numbers())
    assert through(loader) == expected(0)
    for number, batch in enumerate(loader):
        assert given(batch)[0] == (1, number * SIZE)
        if number == 2:
            break
    gc.collect()
    assert threads() == 0
    assert loader.state_dict() == {"epoch": 1, "batch": 3}
    assert through(loader) == expected(1)
    loader.close()


def test_iterators_side_by_side_do_not_disturb_each_other() -> None:
    loader = a_loader(Numbers())
    one, other = iter(loader), iter(loader)
    pairs = [(given(a), given(b)) for a, b in zip(one, other, strict=True)]
    assert [sample for a, _ in pairs for sample in a] == expected(0)
    assert [sample for _, b in pairs for sample in b] == expected(0)
    del one, other
    assert through(loader) == expected(1)
    loader.close()
    assert threads() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_queue_that_ends_with_its_epoch_is_asked_anew(workers: int) -> None:
    queue = Numbers(whole=True)
    loader = a_loader(queue, workers=workers)
    assert [through(loader) for _ in range(3)] == [expected(epoch) for epoch in range(3)]
    assert len(queue.made) == 3 * STEPS * SIZE
    loader.close()


def test_without_workers_nothing_is_made_before_it_is_asked_for() -> None:
    queue = Numbers()
    loader = a_loader(queue, workers=0)
    for epoch in range(2):
        assert through(loader) == expected(epoch)
        assert len(queue.made) == (epoch + 1) * STEPS * SIZE


def test_a_validation_loader_keeps_nothing() -> None:
    queue = Numbers()
    loader = a_loader(queue, fixed=True)
    batches = iter(loader)
    assert [sample for batch in islice(batches, STEPS) for sample in given(batch)] == expected(0)
    assert threads() == 0
    assert through(loader) == expected(0)
    assert len(queue.made) == 2 * STEPS * SIZE


def test_a_forgotten_loader_ends_its_threads() -> None:
    loader = a_loader(Numbers())
    assert through(loader) == expected(0)
    assert threads() == 2
    del loader
    gc.collect()
    until(lambda: threads() == 0)
