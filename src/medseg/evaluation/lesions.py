"""Lesions found, missed and invented: connected components, matched one to one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.settings import CONNECTIVITY

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LesionCounts:
    """Lesions of the reference, of the prediction, and pairs of one of each that match."""

    reference: int
    prediction: int
    found: int


def lesion_counts(
    reference: Mask, prediction: Mask, connectivity: int = 26, least_iou: float = 0.1
) -> LesionCounts:
    """Counts lesions, and the largest number of one-to-one pairs with enough IoU.

    A lesion in two predicted pieces matches one of them; the other is a false alarm. Above an IoU of
    0.5 there is only one way to pair; below, the number of pairs is the largest there is.

    Args:
        reference: ``(W, H, D)`` or ``(W, H)``.
        prediction: of the same shape.
        connectivity: 6, 18 or 26 neighbours in 3D (4, 8, 8 in 2D).
        least_iou: of a pair; 0 for any overlap.
    """
    from scipy.ndimage import generate_binary_structure, label
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    structure = generate_binary_structure(reference.ndim, min(CONNECTIVITY[connectivity], reference.ndim))
    (here, n), (there, m) = (label(mask, structure) for mask in (reference, prediction))
    both = reference & prediction
    if not both.any():
        return LesionCounts(n, m, 0)
    places = here[both] - 1, there[both] - 1
    shared = coo_array((np.ones(len(places[0]), np.int64), places), shape=(n, m))
    shared.sum_duplicates()
    rows, columns = shared.coords
    sizes = [np.bincount(labels.ravel())[1:] for labels in (here, there)]
    union = sizes[0][rows] + sizes[1][columns] - shared.data
    enough = shared.data >= least_iou * union - 1e-9  # 0.1 * 30 is more than 3
    pairs = coo_array((enough[enough], (rows[enough], columns[enough])), shape=(n, m))
    matched = maximum_bipartite_matching(pairs.tocsr(), perm_type="column")
    return LesionCounts(n, m, int((matched >= 0).sum()))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def f1(counts: LesionCounts) -> float:
    """``2 found / (reference + prediction)``."""
    return _share(2 * counts.found, counts.reference + counts.prediction)


def sensitivity(counts: LesionCounts) -> float:
    """``found / reference``."""
    return _share(counts.found, counts.reference)


def precision(counts: LesionCounts) -> float:
    """``found / prediction``."""
    return _share(counts.found, counts.prediction)
