"""How far each voxel is from the boundary of a mask: what boundary and Hausdorff losses weigh errors by."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


@torch.no_grad()
def distance_to_boundary(rows: Tensor, counted: Tensor) -> Tensor:
    """The Euclidean distance of each voxel to the nearest voxel on the other side, in voxels; at least 1.

    A voxel inside looks for one outside and the other way round. Ignored voxels are on neither side: they
    have 0, and nobody finds his nearest among them. A row all of whose voxels are on one side has 0
    everywhere. Axes count alike: losses see patches, which have no spacing. Exact, by SciPy on the CPU.

    Args:
        rows: ``(B, K, *S)`` bool masks.
        counted: ``(B, 1, *S)`` bool, ``False`` where ignored.

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
        to_inside, to_outside = (distance_transform_edt(~side) for side in (inside, outside))
        found[sample, row] = np.where(inside, to_outside, np.where(outside, to_inside, 0))
    return torch.from_numpy(found).to(rows.device)
