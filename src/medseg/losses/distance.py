"""How far each voxel is from the boundary of a mask: what boundary and Hausdorff losses weigh errors by."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.target import Prepared
from medseg.losses.term import LossTerm


class DistanceTerm(LossTerm, ABC):
    """A loss of distances, which knows how far apart voxels are.

    Args:
        labels: what the codes mean.
        spacing: mm per voxel and axis of the patch; ``None`` for 1, so that distances are in voxels.

    Raises:
        UserError: a spacing that is none.
    """

    def __init__(self, labels: Labels, spacing: Sequence[float] | None) -> None:
        super().__init__(labels)
        if spacing is not None and not all(0 < step < float("inf") for step in spacing):
            raise UserError("loss.spacing", f"{list(spacing)} is no spacing", "give mm per axis, above 0")
        self.spacing = None if spacing is None else tuple(float(step) for step in spacing)
        self.strides: tuple[float, ...] | None = None

    def at_level(self, strides: Sequence[float]) -> None:
        """From now on a voxel is as long as ``strides`` voxels of the finest level, per axis."""
        self.strides = tuple(strides)

    def distances(self, rows: Tensor, target: Prepared) -> Tensor:
        """`distance_to_boundary` of ``(B, K, *S)`` bool masks, in mm or voxels, in the losses' precision.

        Raises:
            UserError: a spacing of other axes than the patch has.
        """
        axes = rows.ndim - 2
        spacing = self.spacing or (1.0,) * axes
        if len(spacing) != axes:
            fix = f"give {axes} numbers"
            raise UserError("loss.spacing", f"{list(spacing)} for a patch of {axes} axes", fix)
        strides = self.strides or (1.0,) * axes
        steps = [step * stride for step, stride in zip(spacing, strides, strict=True)]
        return distance_to_boundary(rows, target.mask, steps).to(target.logits.dtype)


@torch.no_grad()
def distance_to_boundary(rows: Tensor, counted: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """The Euclidean distance between the centres of each voxel and the nearest one on the other side.

    A voxel inside looks for one outside and the other way round, so it is at least the least spacing.
    Ignored voxels are on neither side: they have 0, and nobody finds his nearest among them. A row all of
    whose voxels are on one side has 0 everywhere. Exact, by SciPy on the CPU.

    Args:
        rows: ``(B, K, *S)`` bool masks.
        counted: ``(B, 1, *S)`` bool, ``False`` where ignored.
        spacing: mm per axis; ``None`` counts voxels.

    Returns:
        ``(B, K, *S)`` float32 on the device of ``rows``.
    """
    from scipy.ndimage import distance_transform_edt

    masks, known = rows.cpu().numpy(), counted.cpu().numpy()
    found = np.zeros(masks.shape, dtype=np.float32)
    for sample, row in np.ndindex(masks.shape[:2]):
        inside = masks[sample, row] & known[sample, 0]
        outside = ~masks[sample, row] & known[sample, 0]
        if not inside.any() or not outside.any():
            continue
        to_inside, to_outside = (
            distance_transform_edt(~side, sampling=spacing) for side in (inside, outside)
        )
        found[sample, row] = np.where(inside, to_outside, np.where(outside, to_inside, 0))
    return torch.from_numpy(found).to(rows.device)
