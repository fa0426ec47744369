"""The temperature of a model's probabilities (Guo 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.contracts import IGNORE, Labels
from medseg.inference.finish import LEAST, tempered
from medseg.inference.probability_file import read_probabilities
from medseg.postprocess.components import box_of
from medseg.training.tuning_cases import TuningCase

LOWEST, HIGHEST = 0.25, 8.0
VOXELS = 50_000
"""Of each case, drawn from where it is not plain background."""
_WORTH = 1e-3
"""Of the likelihood: a smaller gain is none."""


class Doubts:
    """Probabilities and truths of some voxels of cases.

    Args:
        labels: what the codes mean.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._drawn: dict[str, tuple[Tensor, Tensor]] = {}

    def fit(self, cases: Sequence[TuningCase]) -> tuple[float, float, float]:
        """The temperature with the least negative log-likelihood, each case counting alike.

        Returns:
            It, the likelihood at 1 and the likelihood with it, in nats per voxel.
        """
        from scipy.optimize import minimize_scalar

        drawn = [self._voxels(case) for case in cases]
        drawn = [pair for pair in drawn if len(pair[1])]
        if not drawn:
            return 1.0, 0.0, 0.0

        def cost(exponent: float) -> float:
            return sum(self._cost(*pair, math.exp(exponent)) for pair in drawn) / len(drawn)

        bounds = (math.log(LOWEST), math.log(HIGHEST))
        found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-3})
        before, after = cost(0.0), float(found.fun)
        if after > before * (1 - _WORTH):
            return 1.0, before, before
        temperature = round(math.exp(float(found.x)), 4)
        return temperature, before, cost(math.log(temperature))

    def _voxels(self, case: TuningCase) -> tuple[Tensor, Tensor]:
        """``(K, n)`` probabilities and what is true: ``(n,)`` classes, or ``(K, n)`` regions."""
        if case.case.id not in self._drawn:
            self._drawn[case.case.id] = self._draw(case)
        return self._drawn[case.case.id]

    def _draw(self, case: TuningCase) -> tuple[Tensor, Tensor]:
        scores, truth = read_probabilities(case.probabilities), case.reference(self.labels)
        foreground = scores if self.labels.overlapping else scores[1:]
        seen = (foreground.max(axis=0) > 0.01) | ((truth > 0) & (truth != IGNORE))
        box = box_of(seen)
        if box is None:
            return torch.zeros(len(scores), 0), torch.zeros(0)
        values = scores[(slice(None), *box)].reshape(len(scores), -1)
        codes = truth[box].ravel()
        there = np.flatnonzero(codes != IGNORE)
        if len(there) > VOXELS:
            there = np.random.Generator(np.random.Philox(0)).choice(there, VOXELS, replace=False)
        chosen: NDArray[np.float32] = values[:, there].astype(np.float32)
        return torch.from_numpy(chosen), self._truths(codes[there])

    def _truths(self, codes: NDArray[np.uint8]) -> Tensor:
        if not self.labels.overlapping:
            return torch.from_numpy(codes.astype(np.int64))
        rows = [np.isin(codes, members) for members in self.labels.members]
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def _cost(self, scores: Tensor, truths: Tensor, temperature: float) -> float:
        found = tempered(scores, temperature, self.labels.overlapping).clamp(LEAST, 1 - LEAST)
        if self.labels.overlapping:
            return float(torch.nn.functional.binary_cross_entropy(found, truths))
        return -float(found.log().gather(0, truths[None]).mean())
