"""Holes of a class or region, filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.postprocess.components import box_of, dropped
from medseg.postprocess.nesting import Mask
from medseg.postprocess.segmented import Segmented
from medseg.postprocess.step import Step


class FillHoles(Step):
    """Fills what a class or region encloses: voxels from which no path through faces leads out of it.

    Only the background, and what a region lies in, is filled: a tumour inside a liver stays a tumour.

    Args:
        labels: what the codes mean.
        names: the classes or regions that it is done for; ``None`` for each.
        in_plane: slice by slice, across the axis of the largest voxels, where a hole may be open to other
            slices.
        largest_mm3: holes above this volume stay; ``None`` fills all. Pixels for a picture, and in each slice
            the slice's own part with ``in_plane``.

    Raises:
        UserError: a negative volume, or a name that the labels do not have.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        names: Sequence[str] | None = None,
        in_plane: bool = False,
        largest_mm3: float | None = None,
    ) -> None:
        super().__init__(labels, names=names)
        if largest_mm3 is not None and largest_mm3 < 0:
            raise UserError(
                "postprocess.largest_mm3", f"{largest_mm3:g} is negative", "use 0 or more, or null"
            )
        self.in_plane, self.largest_mm3 = in_plane, largest_mm3

    def __call__(self, case: Segmented) -> Segmented:
        """The case without holes."""
        codes = case.codes
        for name in self.positions:
            mask = self.nesting.mask(codes, (name,))
            box = box_of(mask)
            if box is not None:
                holes = np.zeros_like(mask)
                holes[box] = self._holes(mask[box], case.spacing)
                codes = self.nesting.added(codes, name, holes)
        return replace(case, codes=codes)

    def _holes(self, mask: Mask, spacing: Sequence[float]) -> Mask:
        if not self.in_plane:
            return self._enclosed(mask, prod(spacing))
        across = int(np.argmax(spacing)) if len({*spacing}) > 1 else mask.ndim - 1
        slices = [self._enclosed(plane, prod(spacing)) for plane in np.moveaxis(mask, across, 0)]
        return np.moveaxis(np.stack(slices), 0, across)

    def _enclosed(self, mask: Mask, voxel: float) -> Mask:
        from scipy.ndimage import binary_fill_holes

        # Along an axis of one voxel everything touches the border, so it is left out.
        flat = mask.reshape([n for n in mask.shape if n > 1] or [1])
        holes: Mask = (binary_fill_holes(flat) & ~flat).reshape(mask.shape)
        if self.largest_mm3 is None:
            return holes
        most = self.largest_mm3 * (1 + 1e-9)
        large = dropped(holes, lambda sizes: sizes * voxel <= most)
        return holes if large is None else holes & ~large
