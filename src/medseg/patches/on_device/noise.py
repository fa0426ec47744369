"""Gaussian noise from generators of the device, one for each modality of each sample that drew some.

The seeds come from the same draw as the noise that the workers make, the normals do not: they are those of
torch's generator on this kind of device. So noise is reproduced on the same kind of device only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.patches.augment.noise import Noise


def deviations(changes: Sequence[Noise]) -> NDArray[np.float32]:
    """``(R,)`` standard deviations."""
    return np.array([change.std for change in changes for _ in change.channels], np.float32)


def seeds(changes: Sequence[Noise]) -> tuple[int, ...]:
    """One per row: of the drawn seed and the modality."""
    return tuple(_seed(change.seed, channel) for change in changes for channel in change.channels)


def _seed(drawn: object, channel: int) -> int:
    words = np.array(drawn, dtype=np.uint64).ravel().tolist()
    return int(np.random.SeedSequence([*words, channel]).generate_state(1, np.uint64)[0] >> 1)


def add(rows: Tensor, deviation: Tensor, seeds: Sequence[int]) -> Tensor:
    """``(R, *S)`` with noise of each row's own seed."""
    noisy = torch.empty_like(rows)
    for row, seed in enumerate(seeds):
        generator = torch.Generator(rows.device).manual_seed(seed)
        torch.randn(rows.shape[1:], generator=generator, out=noisy[row])
    return noisy.mul_(deviation.view(-1, *[1] * (rows.ndim - 1))).add_(rows)
