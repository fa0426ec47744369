"""Whether tubes hang together: how much of each mask's centreline lies in the other mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def cldice(reference: Mask, prediction: Mask, axes: Sequence[int]) -> float:
    """Centreline Dice (Shit 2021): the harmonic mean of topology precision and topology sensitivity.

    Args:
        reference: a mask that is not empty.
        prediction: a mask of the same shape that is not empty.
        axes: the axes of the image that have more than one voxel.
    """
    precise = _share_within(skeleton(prediction, axes), reference)
    sensitive = _share_within(skeleton(reference, axes), prediction)
    return 2 * precise * sensitive / (precise + sensitive) if precise + sensitive else 0.0


def skeleton(mask: Mask, axes: Sequence[int]) -> Mask:
    """The centreline, one voxel wide (Zhang 1984 in 2D, Lee 1994 in 3D).

    A mask along fewer than two axes is its own.
    """
    from skimage.morphology import skeletonize

    if len(axes) < 2:
        return mask
    flat = tuple(axis for axis in range(mask.ndim) if axis not in axes)
    thin = np.expand_dims(skeletonize(mask.squeeze(flat)).astype(bool), flat)
    # Thinning may leave nothing of a speck; a speck is its own centre.
    return thin if thin.any() else mask


def _share_within(line: Mask, mask: Mask) -> float:
    return float(np.count_nonzero(line & mask) / np.count_nonzero(line))
