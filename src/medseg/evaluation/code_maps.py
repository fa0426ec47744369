"""Two label maps of one case, as they lie in memory: counted once, then cut into a bit mask per label."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE

Codes = NDArray[np.uint8]
Box = tuple[tuple[int, int, int], tuple[int, int, int]]
"""First voxel, and the one after the last, along each axis."""


class CodeMaps:
    """A reference and a prediction on one grid of up to three dimensions.

    The maps are read as they lie in memory, whichever axis comes first; an axis that is missing or
    has one voxel comes first. What is given per axis goes through `per_axis`.

    Args:
        truth: codes; voxels of `IGNORE` belong to no mask.
        guess: codes of the same shape.

    Raises:
        ValueError: there are more than three dimensions.
    """

    def __init__(self, truth: Codes, guess: Codes) -> None:
        if truth.ndim > 3:
            raise ValueError(f"volumes of {truth.ndim} dimensions have no surface here; give 3 at most")
        axes = sorted(range(truth.ndim), key=lambda axis: -abs(truth.strides[axis]))
        flat = [axis for axis in axes if truth.shape[axis] == 1]
        solid = [axis for axis in axes if truth.shape[axis] != 1]
        self._axes: list[int | None] = [*[None] * (3 - truth.ndim), *flat, *solid]
        self.shape = self.per_axis(truth.shape, 1)
        self.truth, self.guess = (self._laid_out(codes, flat + solid) for codes in (truth, guess))

    def _laid_out(self, codes: Codes, axes: Sequence[int]) -> Codes:
        return np.ascontiguousarray(codes.transpose(axes)).reshape(-1)

    def per_axis(self, values: Sequence[Any], missing: Any) -> tuple[Any, Any, Any]:
        """What is given for each axis of the maps, in the order of `shape`."""
        first, second, third = (missing if axis is None else values[axis] for axis in self._axes)
        return first, second, third

    @cached_property
    def _tally(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        from medseg.data.machine_code import compiled
        from medseg.evaluation.kernels.tally import tally

        table, boxes = np.zeros((256, 256), np.int64), np.zeros((256, 6), np.int64)
        boxes[:, :3] = max(self.shape)
        compiled(tally)(self.truth, self.guess, self.shape, table, boxes)
        table[0, 0] = self.truth.size - (table.sum() - table[0, 0])
        return table, boxes

    @property
    def table(self) -> NDArray[np.int64]:
        """``(256, 256)``: how many voxels have each pair of codes, the reference's down."""
        return self._tally[0]

    def box(self, codes: Collection[int]) -> Box | None:
        """The box outside of which no voxel of either map has one of the codes."""
        boxes = self._tally[1][list(codes)]
        low, high = boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)
        if not (low < high).all():
            return None
        return tuple(map(int, low)), tuple(map(int, high))  # type: ignore[return-value]

    def region(self, codes: Collection[int]) -> tuple[slice, ...]:
        """`box` as slices of the maps as they were given; of nothing where there is none."""
        box = self.box(codes) or ((0, 0, 0), (0, 0, 0))
        found = {axis: slice(low, high) for axis, low, high in zip(self._axes, *box, strict=True)}
        return tuple(found[axis] for axis in range(len([axis for axis in found if axis is not None])))

    def masks(self, codes: Collection[int], box: Box) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Bit masks (see `kernels.bit_masks`) of the union of ``codes``, without ignored voxels."""
        reference, prediction = (self._mask(volume, codes, box) for volume in (self.truth, self.guess))
        if self.table[IGNORE].any():
            prediction &= ~self._mask(self.truth, [IGNORE], box)
        return reference, prediction

    def _mask(self, volume: Codes, codes: Collection[int], box: Box) -> NDArray[np.uint64]:
        from medseg.data.machine_code import compiled
        from medseg.evaluation.kernels.bit_masks import pack

        member = np.zeros(256, bool)
        member[list(codes)] = True
        width, height, depth = (high - low for low, high in zip(*box, strict=True))
        mask = np.zeros((width + 2, height + 2, (depth + 2 + 63) // 64), np.uint64)
        compiled(pack)(volume, self.shape, member, (*box[0], *box[1]), mask)
        return mask
