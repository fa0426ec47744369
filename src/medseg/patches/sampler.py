"""Which case sample number i of an epoch shows, and where its patch lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE
from medseg.patches.keys import Purpose, generator

_GOLDEN = 0.6180339887498949


@lru_cache(maxsize=64)
def _order(seed: int, epoch: int, block: int, cases: int, stream: int) -> NDArray[np.int64]:
    return generator(seed, epoch, block, Purpose.CASE, stream).permutation(cases)


@lru_cache(maxsize=64)
def _phase(seed: int, epoch: int, stream: int) -> float:
    return float(generator(seed, epoch, 0, Purpose.PHASE, stream).random())


@dataclass(frozen=True)
class PatchSampler:
    """Cases are visited evenly, foreground at the asked share, classes of a case equally often.

    Attributes:
        seed: the run's seed.
        cases: how many cases there are.
        patch: voxels per store axis (a 2D patch is one voxel deep).
        foreground_share: share of the samples that are centred on a foreground voxel.
        stream: distinguishes queues that share a seed.
    """

    seed: int
    cases: int
    patch: tuple[int, int, int]
    foreground_share: float
    stream: int = 0

    def case(self, epoch: int, number: int) -> int:
        """The case of a sample: one shuffled pass through all of them after the other.

        Within an epoch the counts of any two cases differ by one at most.
        """
        block, position = divmod(number, self.cases)
        return int(_order(self.seed, epoch, block, self.cases, self.stream)[position])

    def wants_foreground(self, epoch: int, number: int) -> bool:
        """Whether a sample is to show foreground.

        The multiples of the golden ratio are spread more evenly than any coin (Weyl): every batch, and
        every rank's share of it, is close to the asked share.
        """
        phase = _phase(self.seed, epoch, self.stream)
        return (phase + number * _GOLDEN) % 1.0 < self.foreground_share

    def start(
        self, epoch: int, number: int, shape: Sequence[int], foreground: Mapping[int, NDArray[np.int32]]
    ) -> tuple[int, int, int]:
        """The first voxel of the patch, per store axis.

        Args:
            epoch: counted from 0.
            number: of the sample within its epoch.
            shape: ``(W, H, D)`` of the case.
            foreground: voxel positions ``(n, 3)`` per code; may be empty.

        Returns:
            A start such that the patch lies inside the case; along an axis where the case is smaller than
            the patch, a negative one that centres it.
        """
        rng = generator(self.seed, epoch, number, Purpose.PLACE, self.stream)
        codes = [code for code in sorted(foreground) if code != IGNORE and len(foreground[code])]
        if codes and self.wants_foreground(epoch, number):
            positions = foreground[codes[int(rng.integers(len(codes)))]]
            voxel = positions[int(rng.integers(len(positions)))]
            wanted = [int(v) - p // 2 for v, p in zip(voxel, self.patch, strict=True)]
        else:
            wanted = [int(rng.integers(max(s - p, 0) + 1)) for s, p in zip(shape, self.patch, strict=True)]
        x, y, z = (_inside(w, s, p) for w, s, p in zip(wanted, shape, self.patch, strict=True))
        return x, y, z


def _inside(wanted: int, size: int, patch: int) -> int:
    if size < patch:
        return -((patch - size) // 2)
    return min(max(wanted, 0), size - patch)
