"""Whatever is done to a loader, what it gives is a function of the seed and of its place alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.contracts import Batch
from medseg.patches.loader import PatchLoader
from medseg.patches.patch_queue import PatchQueue

from .number_queue import SIZE, STEPS, Numbers, a_loader, expected, threads
from .number_queue import given as numbers_given
from .plans import volume_plan

Make = Callable[..., PatchQueue]
Bits = dict[tuple[str, int, int], tuple[bytes, bytes, list[bool], str]]


def bits_of(batches: list[dict[str, Batch]]) -> Bits:
    """(stream, epoch, number) -> all that belongs to the sample."""
    found: Bits = {}
    for batch in batches:
        for stream, part in batch.items():
            for k, (epoch, number) in enumerate(part.index.tolist()):
                key = (stream, epoch, number)
                assert key not in found, f"{key} came twice"
                label = b"" if part.label is None else part.label[k].numpy().tobytes()
                found[key] = (part.image[k].numpy().tobytes(), label, part.present[k].tolist(), part.case[k])
    return found


def drawn(make_queue: Make, workers: int, rank: int = 0, world: int = 1) -> list[dict[str, Batch]]:
    plan = volume_plan()
    queues = {"labelled": make_queue(plan), "unlabelled": make_queue(plan, labelled=False)}
    sizes = {"labelled": 4 // world, "unlabelled": 8 // world}
    loader = PatchLoader(queues, sizes, 4, workers, rank, world)
    found = [batch for _ in range(3) for batch in loader]
    loader.close()
    return found


@pytest.fixture(scope="module")
def alone() -> dict[str, Bits]:
    return {}


@pytest.mark.parametrize(("world", "workers"), [(1, 1), (1, 2), (1, 4), (2, 0), (2, 4), (4, 1)])
def test_ranks_and_workers_give_the_same_bits(
    make_queue: Make, alone: dict[str, Bits], world: int, workers: int
) -> None:
    if not alone:
        alone["bits"] = bits_of(drawn(make_queue, 0))
    ranks = [drawn(make_queue, workers, rank, world) for rank in range(world)]
    together = bits_of([batch for rank in ranks for batch in rank])
    assert together == alone["bits"]
    keys = {("labelled", e, n) for e in range(3) for n in range(16)}
    assert set(together) == keys | {("unlabelled", e, n) for e in range(3) for n in range(32)}


def test_a_sample_is_what_its_number_says(make_queue: Make) -> None:
    for batch in drawn(make_queue, 2)[::5]:
        part = batch["labelled"]
        other = make_queue(volume_plan())
        for k, (epoch, number) in enumerate(part.index.tolist()):
            alone = other[epoch, number]
            assert torch.equal(part.image[k], torch.from_numpy(alone.image))
            assert part.case[k] == alone.case


STEP = st.one_of(
    st.tuples(st.just("take"), st.integers(0, STEPS)),
    st.tuples(st.just("set"), st.integers(0, 3)),
    st.tuples(st.just("resume"), st.integers(0, 2)),
    st.tuples(st.just("unused"), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(script=st.lists(STEP, min_size=1, max_size=12), workers=st.integers(0, 2))
def test_a_loader_is_always_where_it_should_be(script: list[tuple[str, int]], workers: int) -> None:
    """Against a model: the next iteration begins at ``start``, and ``next_`` is what a checkpoint holds."""
    loader: Any = a_loader(Numbers(), workers=workers)
    start, next_, epoch = (0, 0), (0, 0), 0
    for what, value in script:
        if what == "take":
            batches = [numbers_given(batch) for batch in islice(loader, value)]
            if value:
                whole = expected(*start)[: value * SIZE]
                assert [sample for batch in batches for sample in batch] == whole
                last = start[1] + len(batches)
                next_ = (start[0], last) if last < STEPS else (start[0] + 1, 0)
                # An epoch whose end was not asked for (as Lightning does) is left by `set_epoch` alone.
                epoch = start[0] + (len(batches) < value)
                start = (epoch, 0)
        elif what == "set":
            loader.set_epoch(value)
            if value != epoch:
                start = next_ = (value, 0)
                epoch = value
        elif what == "resume":
            state = loader.state_dict()
            loader.close()
            loader = a_loader(Numbers(), workers=value)
            loader.load_state_dict(state)
            start, epoch = next_, next_[0]
        else:
            iter(loader)
        assert loader.state_dict() == {"epoch": next_[0], "batch": next_[1]}
    loader.close()
    assert threads() == 0
