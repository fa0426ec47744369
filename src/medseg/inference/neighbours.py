"""Slices with their neighbours as channels (2.5D), without a copy of the volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Neighbours:
    """A volume ``(M, W, H, D)`` seen as ``(M * slices, W, H, D)``; only what is asked for is read.

    Channel ``m * slices + k`` shows modality m, ``k - slices // 2`` slices further along the last axis;
    beyond the volume there are zeros. Patch queues stack slices in the same order.

    Args:
        image: ``(M, W, H, D)``; may be memory-mapped.
        slices: how many, an odd number.
    """

    def __init__(self, image: NDArray[np.float32], slices: int) -> None:
        modalities, *size = image.shape
        self.image, self.slices = image, slices
        self.shape = (modalities * slices, *size)

    def __getitem__(self, box: tuple[slice, slice, slice, slice]) -> NDArray[np.float32]:
        """A box of all channels, with explicit bounds along the last axis."""
        _, i, j, k = box
        depth, half = self.image.shape[3], self.slices // 2
        low, high = k.start - half, k.stop + half
        first, last = max(low, 0), min(high, depth)
        block = np.asarray(self.image[:, i, j, first:last])
        block = np.pad(block, ((0, 0), (0, 0), (0, 0), (first - low, high - last)))
        shifted = np.stack([block[..., n : n + k.stop - k.start] for n in range(self.slices)], axis=1)
        return shifted.reshape(self.shape[0], *shifted.shape[2:])
