"""Mean-field inference in a fully connected CRF, in plain torch.

Messages from all voxels to all voxels are products of small matrices: per axis of space a Gaussian is
written as ``B B^T`` with a coarse grid in between, and the kernel on intensities as ``F F^T`` with few
columns (`medseg.postprocess.kernels`). So nothing is cut off, and no lattice and no compiler is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.postprocess.kernels import axis_factor, intensity_features

LEAST = 1e-6
"""Probabilities are taken as at least this, so that the network may be overruled."""


class MeanField:
    """The kernels of one image.

    Args:
        image: ``(M, *S)``, intensities of which 1 is the usual range.
        spacing: mm per axis.
        distance: mm, of the appearance kernel.
        intensity: of the same, in the image's unit.
        smooth: mm, of the smoothness kernel.
        weights: of the appearance and of the smoothness kernel.
    """

    def __init__(
        self,
        image: NDArray[np.float32],
        spacing: Sequence[float],
        *,
        distance: float,
        intensity: float,
        smooth: float,
        weights: tuple[float, float],
    ) -> None:
        shape = image.shape[1:]
        values = image.reshape(len(image), -1).T / np.float32(intensity)
        features = torch.from_numpy(intensity_features(values)).T.reshape(-1, *shape)
        self._kernels = [
            _Kernel(features, [axis_factor(n, s, distance) for n, s in zip(shape, spacing, strict=True)]),
            _Kernel(
                torch.ones(1, *shape),
                [axis_factor(n, s, smooth) for n, s in zip(shape, spacing, strict=True)],
            ),
        ]
        self._weights = weights

    def run(self, probabilities: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
        """``(K, *S)`` of the network -> ``(K, *S)`` after so many updates of all voxels at once."""
        unary = torch.from_numpy(np.log(np.clip(probabilities, LEAST, 1)).astype(np.float32))
        belief = unary.softmax(dim=0)
        for _ in range(iterations):
            said = unary.clone()
            for weight, kernel in zip(self._weights, self._kernels, strict=True):
                if weight:
                    said.add_(kernel.message(belief), alpha=weight)
            belief = said.softmax(dim=0)
        found: NDArray[np.float32] = belief.numpy()
        return found


class _Kernel:
    """``k(i, j) = sum_r F_r(i) F_r(j) * prod_a (B_a B_a^T)(i, j)``, normalised, without ``i = j``."""

    def __init__(self, features: Tensor, factors: Sequence[NDArray[np.float64]]) -> None:
        self._features = features
        self._factors = [torch.from_numpy(factor).float() for factor in factors]
        self._own = features.square().sum(dim=0)
        for axis, factor in enumerate(self._factors):
            sizes = [-1 if a == axis else 1 for a in range(features.ndim - 1)]
            self._own = self._own * factor.square().sum(dim=1).reshape(sizes)
        others = self._product(torch.ones(1, *features.shape[1:]))[0] - self._own
        # A voxel is alike to itself by exactly 1, and no other is by less than 0.
        self._norm = (1 + others.clamp_min(0.0)).rsqrt()
        self._everything = self._product(self._norm[None])[0]

    def message(self, belief: Tensor) -> Tensor:
        """``(K, *S)``: what the others say, weighted by how much they have to do with each voxel."""
        # Beliefs add up to one, so what is said of the first follows from the rest.
        rest = self._product(belief[1:] * self._norm)
        shared = torch.cat([(self._everything - rest.sum(dim=0))[None], rest])
        return self._norm * shared - (self._norm.square() * self._own) * belief

    def _product(self, values: Tensor) -> Tensor:
        """All voxels, a voxel itself included."""
        total = torch.zeros_like(values)
        for feature in self._features:
            coarse = values * feature
            for axis, factor in enumerate(self._factors, start=1):
                coarse = _along(coarse, factor.T, axis)
            for axis, factor in enumerate(self._factors, start=1):
                coarse = _along(coarse, factor, axis)
            total.addcmul_(coarse, feature.expand_as(coarse))
        return total


def _along(values: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """``matrix (n_out, n_in)`` times one axis."""
    product: Tensor = torch.tensordot(values, matrix, dims=([axis], [1]))
    return product.movedim(-1, axis)
