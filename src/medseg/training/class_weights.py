"""Class weights by name: numbers made of how many voxels of each class the training cases have."""

from __future__ import annotations

import math
from collections.abc import Mapping

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.losses.voxelwise import Balance


def balanced_weights(rule: Balance, class_voxels: Mapping[int, int], labels: Labels) -> list[float]:
    """One number per class, the background first, or per region, as losses take them.

    ``balanced`` is ``n / (k * count)`` (King and Zeng 2001, scikit-learn's formula): ``n`` labelled voxels,
    ``k`` classes or regions that occur, ``count`` voxels of this one. ``balanced_sqrt`` is its square root.
    A region counts all voxels in it; its weight is that of its row, inside and outside alike. What does
    not occur weighs 1.

    Args:
        rule: which.
        class_voxels: code -> voxels over the labelled training cases, 0 the background, none ignored.
        labels: what the codes mean.

    Raises:
        UserError: there is no labelled voxel to count.
    """
    total = sum(class_voxels.values())
    rows = labels.members if labels.overlapping else ((0,), *labels.members)
    counts = [sum(class_voxels.get(code, 0) for code in codes) for codes in rows]
    occurring = sum(count > 0 for count in counts)
    if not occurring:
        problem = f"{rule} needs labelled voxels, and the training cases have none"
        raise UserError("loss.class_weights", problem, "give numbers, or null")
    weights = [total / (occurring * count) if count else 1.0 for count in counts]
    return [math.sqrt(weight) for weight in weights] if rule == "balanced_sqrt" else weights
