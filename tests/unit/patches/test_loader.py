"""Workers, ranks and restarts do not change the stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.contracts import Batch
from medseg.data.plan import Plan
from medseg.patches.feed import feed
from medseg.patches.interface import Crew, Part
from medseg.patches.loader import PatchLoader
from medseg.patches.patch_queue import PatchQueue, SampleError

from .plans import volume_plan

Make = Callable[..., PatchQueue]


def same(one: dict[str, Batch], other: dict[str, Batch]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(a.image, b.image)
        and ((a.label is None and b.label is None) or torch.equal(a.label, b.label))
        and torch.equal(a.present, b.present)
        and torch.equal(a.index, b.index)
        and a.case == b.case
        for a, b in ((one[k], other[k]) for k in one)
    )


def loader(make_queue: Make, plan: Plan, steps: int = 4, **options: Any) -> PatchLoader:
    queues = {"labelled": make_queue(plan), "unlabelled": make_queue(plan, labelled=False)}
    return PatchLoader(queues, {"labelled": 2, "unlabelled": 3}, steps, **options)


def test_workers_do_not_change_the_stream(make_queue: Make, plan: Plan) -> None:
    streams = []
    for workers in (0, 1, 2):
        found = loader(make_queue, plan, workers=workers)
        streams.append([batch for _ in range(2) for batch in found])
        assert found.waited_seconds > 0
    assert len(streams[0]) == 8
    for stream in streams[1:]:
        assert all(same(a, b) for a, b in zip(streams[0], stream, strict=True))
    assert streams[0][0]["labelled"].image.shape == (2, 2, *plan.patch_size)
    assert streams[0][0]["unlabelled"].image.shape == (3, 2, *plan.patch_size)
    assert streams[0][0]["unlabelled"].label is None


@settings(max_examples=50, deadline=None)
@given(world=st.integers(1, 9), size=st.integers(1, 7), steps=st.integers(1, 9), first=st.integers(0, 8))
def test_ranks_cover_each_number_once(world: int, size: int, steps: int, first: int) -> None:
    parts = [Part(0, first, steps, size, rank, world) for rank in range(world)]
    numbers = [n for part in parts for b in range(first, steps) for n in part.numbers(b)]
    assert sorted(numbers) == list(range(first * size * world, max(first, steps) * size * world))


def test_ranks_together_see_what_one_rank_sees(make_queue: Make) -> None:
    queue = make_queue(volume_plan())
    alone = next(queue.batches(Part(1, 2, 3, 4), Crew()))
    ranks = [next(queue.batches(Part(1, 2, 3, 2, rank, 2), Crew())) for rank in range(2)]
    assert sorted(alone.index[:, 1].tolist()) == sorted(torch.cat([b.index[:, 1] for b in ranks]).tolist())
    together = {int(i): image for b in ranks for i, image in zip(b.index[:, 1], b.image, strict=True)}
    for number, image in zip(alone.index[:, 1], alone.image, strict=True):
        assert torch.equal(image, together[int(number)])


@pytest.mark.parametrize("consumed", [1, 3, 4, 5])
def test_resuming_goes_on_with_the_next_batch(make_queue: Make, consumed: int) -> None:
    plan = volume_plan()
    whole = loader(make_queue, plan)
    expected = [batch for _ in range(3) for batch in whole]
    stopped = loader(make_queue, plan, workers=2)
    for k, _ in enumerate((batch for _ in range(3) for batch in stopped), start=1):
        if k == consumed:
            break
    resumed = loader(make_queue, plan, workers=1)
    resumed.load_state_dict(stopped.state_dict())
    rest = list(resumed)
    while len(rest) + consumed < len(expected):
        rest += list(resumed)
    assert all(same(a, b) for a, b in zip(expected[consumed:], rest, strict=True))


def test_iterators_that_are_never_used_change_nothing(make_queue: Make) -> None:
    found = loader(make_queue, volume_plan())
    found.load_state_dict({"epoch": 2, "batch": 3})
    iter(found)
    found.sampler.set_epoch(2)
    iter(found)
    (batch,) = list(found)
    assert batch["labelled"].index[:, 0].tolist() == [2, 2]
    assert found.state_dict() == {"epoch": 3, "batch": 0}
    assert len(found) == 4


def test_set_epoch_goes_to_its_start(make_queue: Make) -> None:
    found = loader(make_queue, volume_plan())
    next(iter(found))
    found.set_epoch(5)
    assert found.state_dict() == {"epoch": 5, "batch": 0}
    assert next(iter(found))["labelled"].index.tolist() == [[5, 0], [5, 1]]


def test_fixed_loader_repeats_itself(make_queue: Make) -> None:
    found = loader(make_queue, volume_plan(), steps=2, fixed=True)
    first = list(found)
    found.set_epoch(9)
    assert all(same(a, b) for a, b in zip(first, found, strict=True))


def test_errors_arrive_with_the_case_and_threads_end(make_queue: Make) -> None:
    broken = make_queue(volume_plan(modalities=("t1",)))
    before = threading.active_count()
    with pytest.raises(SampleError, match="case case"):
        list(PatchLoader({"labelled": broken}, {"labelled": 2}, 5, workers=2))
    abandoned = iter(loader(make_queue, volume_plan(), steps=50, workers=2))
    next(abandoned)
    assert threading.active_count() == before + 2
    abandoned.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_memory_is_bounded() -> None:
    from concurrent.futures import ThreadPoolExecutor

    made, taken = [], 0

    def planned() -> Iterator[Any]:
        for k in range(30):
            made.append(k)
            yield k, [lambda: None]

    with ThreadPoolExecutor(2) as threads:
        for k in feed(planned(), Crew(2, threads), ahead=3):
            assert k == taken
            taken += 1
            assert len(made) - taken <= 3
    assert taken == 30
