from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.patches.augment import modality_dropout
from medseg.patches.settings import AugmentationSettings


@settings(deadline=None)
@given(present=st.lists(st.booleans(), min_size=1, max_size=5), seed=st.integers(0, 2**32 - 1))
def test_some_are_hidden_and_never_all(present: list[bool], seed: int) -> None:
    there = np.array(present)
    always = AugmentationSettings(modality_dropout_probability=1.0)
    kept = modality_dropout.draw(np.random.default_rng(seed), always, there)
    assert not (kept & ~there).any()
    if there.sum() > 1:
        assert 0 < kept.sum() < there.sum()
    else:
        assert (kept == there).all()


def test_every_smaller_set_is_as_likely() -> None:
    rng, settings = np.random.default_rng(0), AugmentationSettings(modality_dropout_probability=0.5)
    there = np.array([True, True, False, True])
    drawn = Counter(tuple(modality_dropout.draw(rng, settings, there).tolist()) for _ in range(10_000))
    assert len(drawn) == 7
    whole = drawn.pop((True, True, False, True))
    assert abs(whole - 5000) < 200  # four standard deviations
    assert all(abs(count - 5000 / 6) < 4 * (10_000 / 12 * 11 / 12) ** 0.5 for count in drawn.values())
