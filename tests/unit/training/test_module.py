from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg.contracts import IGNORE, Labels
from medseg.training.budget import SHARE, steps_for
from medseg.training.overlap_counts import overlap_counts
from medseg.training.volumes import look_epochs


@given(seed=st.integers(0, 2**32 - 1))
def test_overlap_counts_of_classes_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = Labels(("a", "b"), ((1,), (2,)))
    logits = torch.from_numpy(rng.normal(size=(2, 3, 3, 4)))
    label = torch.from_numpy(rng.choice([0, 1, 2, IGNORE], size=(2, 1, 3, 4)).astype(np.uint8))
    shared, sizes = overlap_counts(logits, label, labels)
    best = logits.argmax(1).numpy()
    for row in (0, 1):
        s = n = 0
        for index in np.ndindex(best.shape):
            truth = label[index[0], 0, index[1], index[2]].item()
            if truth == IGNORE:
                continue
            s += int(truth == row + 1 and best[index] == row + 1)
            n += int(truth == row + 1) + int(best[index] == row + 1)
        assert (shared[row].item(), sizes[row].item()) == (s, n)


def test_overlap_counts_of_regions() -> None:
    labels = Labels(("whole", "core"), ((1, 2), (2,)), overlapping=True)
    label = torch.tensor([[[[0, 1, 2, IGNORE]]]], dtype=torch.uint8)
    logits = torch.tensor([[[[1.0, 1.0, -1.0, 1.0]], [[-1.0, 1.0, 1.0, 1.0]]]])
    shared, sizes = overlap_counts(logits, label, labels)
    assert shared.tolist() == [1.0, 1.0]
    assert sizes.tolist() == [4.0, 3.0]


@given(epochs=st.integers(1, 500), looks=st.integers(1, 20))
def test_looks_are_spread_and_the_last_epoch_is_among_them(epochs: int, looks: int) -> None:
    chosen = look_epochs(epochs, looks)
    assert chosen[-1] == epochs - 1
    assert len(chosen) == min(epochs, looks)
    assert all(0 <= epoch < epochs for epoch in chosen)


@given(minutes=st.floats(0.1, 1000), seconds=st.floats(0.001, 100), epoch=st.integers(1, 500))
def test_steps_fit_the_budget_in_whole_epochs(minutes: float, seconds: float, epoch: int) -> None:
    steps = steps_for(minutes, seconds, epoch)
    assert steps % epoch == 0
    assert steps >= epoch
    assert steps == epoch or steps * seconds <= SHARE * minutes * 60 + 1e-6
