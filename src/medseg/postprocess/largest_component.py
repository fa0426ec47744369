"""The largest object of a class or region alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.postprocess.components import without_objects
from medseg.postprocess.segmented import Segmented
from medseg.postprocess.step import ObjectStep


class LargestComponent(ObjectStep):
    """Keeps the largest object of a class or region; of equal ones the first (nnU-Net, Isensee 2021)."""

    def __call__(self, case: Segmented) -> Segmented:
        """The case with at most one object per class or region."""
        return without_objects(case, self.nesting, self.groups, _largest)


def _largest(sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = np.arange(len(sizes)) == int(np.argmax(sizes))
    return kept
