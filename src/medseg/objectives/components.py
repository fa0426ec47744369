"""From label codes to objects: what touches itself is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medseg.contracts import IGNORE, Instances

if TYPE_CHECKING:
    from numpy.typing import NDArray


def find_instances(codes: Tensor, smallest: int = 1) -> Instances:
    """The connected components of each code, neighbours across corners included, code by code.

    A component is left out, and its voxels are ignored, where it has fewer than ``smallest`` voxels, or
    where its box, one voxel larger on every side, holds an ignored voxel: what it looks like is not known.

    Args:
        codes: ``(*S)`` uint8, on any device.
        smallest: voxels.
    """
    from scipy import ndimage

    array: NDArray[np.uint8] = codes.cpu().numpy()
    unknown = array == IGNORE
    ignored, touching = unknown.copy(), np.ones((3,) * array.ndim)
    masks, labels = [], []
    for code in np.unique(array[(array > 0) & ~unknown]):
        parts, _ = ndimage.label(array == code, structure=touching)
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            inside = parts[box] == number
            if inside.sum() < smallest or unknown[_grown(box)].any():
                ignored[box] |= inside
                continue
            mask = np.zeros(array.shape, dtype=bool)
            mask[box] = inside
            masks.append(mask)
            labels.append(int(code))
    found = np.stack(masks) if masks else np.zeros((0, *array.shape), dtype=bool)
    return Instances(
        torch.from_numpy(found).to(codes.device),
        torch.tensor(labels, dtype=torch.int64, device=codes.device),
        torch.from_numpy(ignored).to(codes.device),
    )


def _grown(box: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(slice(max(0, axis.start - 1), axis.stop + 1) for axis in box)
