"""Memory is used again, and never under the eyes of one who still looks at it."""

from __future__ import annotations

import gc
import pickle

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.patches.batch_memory import ALIGNMENT, BatchMemory

SHAPE = (2, 1, 8, 8, 8)


def test_memory_is_used_again_when_nothing_looks_at_it() -> None:
    memory = BatchMemory()
    first = memory.array(SHAPE, np.float32)
    place = first.ctypes.data
    assert place % ALIGNMENT == 0
    del first
    assert memory.array(SHAPE, np.float32).ctypes.data == place
    assert len(memory) == 1


def test_whatever_was_made_of_it_keeps_it() -> None:
    """A tensor, a view of one, what autograd saved, and an array of a tensor."""
    memory = BatchMemory()
    tensor = torch.from_numpy(memory.array(SHAPE, np.float32))
    tensor.fill_(1)
    kept = [tensor[1:, :, 2], tensor.numpy()[0], (tensor * torch.ones(1, requires_grad=True)).sum()]
    place = tensor.data_ptr()
    del tensor
    while kept:
        other = memory.array(SHAPE, np.float32)
        assert other.ctypes.data != place
        other.fill(2)
        assert kept[-1].max() in (1, np.prod(SHAPE))
        del other
        kept.pop()
        gc.collect()
    assert memory.array(SHAPE, np.float32).ctypes.data == place


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sampled_from([3, 5])), max_size=40))
def test_arrays_in_use_never_share_memory(steps: list[tuple[bool, int, int]]) -> None:
    memory, held, most = BatchMemory(), list[np.ndarray](), 0
    for number, (take, which, size) in enumerate(steps):
        if take:
            array = memory.array((size, size), np.int32)
            array.fill(number)
            held.append(array)
            del array
        elif held:
            held.pop(which % len(held))
        most = max(most, len(held))
        assert all((array == array.flat[0]).all() for array in held)
        assert len({int(array.flat[0]) for array in held}) == len(held)
        assert len(memory) <= max(1, 2 * most)


def test_another_process_begins_with_none() -> None:
    memory = BatchMemory()
    held = memory.array(SHAPE, np.float32)
    assert len(pickle.loads(pickle.dumps(memory))) == 0
    assert held.size
