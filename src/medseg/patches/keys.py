"""Random numbers that belong to a sample: named by (seed, epoch, number, purpose) and nothing else.

Philox is a block cipher in counter mode (Salmon et al. 2011): equal names give equal numbers in any
thread, process, rank or run, and different names give independent streams without ever drawing from
a shared generator.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

_WORD = (1 << 64) - 1


class Purpose(IntEnum):
    """What the numbers are for, so that a change of one draw does not shift the others."""

    CASE = 1
    PHASE = 2
    PLACE = 3
    SPATIAL = 4
    INTENSITY = 5
    TORCHIO = 6
    MODALITIES = 7


def generator(seed: int, epoch: int, number: int, purpose: Purpose, stream: int = 0) -> np.random.Generator:
    """The generator of one name.

    Args:
        seed: the run's seed.
        epoch: counted from 0.
        number: of the sample within its epoch, over all ranks.
        purpose: which draw.
        stream: distinguishes queues that share a seed (labelled, unlabelled).
    """
    key = np.array([seed & _WORD, (stream << 8) | purpose], dtype=np.uint64)
    counter = np.array([0, 0, epoch & _WORD, number & _WORD], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
