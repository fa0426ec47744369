"""The values in a label map: integers, and declared ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.data.checks.finding import Finding

_SHOWN = 6
_NARROW = 1 << 16
_WIDE = 2**62


def label_values(
    array: NDArray[Any], file: str, labels: Labels, case: str
) -> tuple[dict[int, int], list[Finding]]:
    """How many voxels each file value has, and what is wrong with the values.

    The counts are empty where there is a finding. Floats that are integers are fine.
    """
    integers = _integers(array)
    if isinstance(integers, str):
        fix = "save labels as integers and resample them by nearest neighbour"
        return {}, [Finding(file, "values", integers, fix, "error", "label-fractions", (case,))]
    counts = _counts(integers)
    legal = {0, *labels.code_of, *(() if labels.ignore is None else (labels.ignore,))}
    strange = sorted(set(counts) - legal)
    if not strange:
        return counts, []
    shown = ", ".join(map(str, strange[:_SHOWN])) + (", ..." if len(strange) > _SHOWN else "")
    voxels = sum(counts[value] for value in strange)
    known = ", ".join(map(str, sorted(labels.code_of))) or "none"
    problem = f"{shown} ({voxels:,} voxels) not declared; declared are {known}"
    fix = "declare them in data.labels, data.regions or data.ignore, or mend the file"
    return {}, [Finding(file, "values", problem, fix, "error", "label-undeclared", (case,))]


def _integers(array: NDArray[Any]) -> NDArray[Any] | str:
    """The array as integers, or why it has none."""
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    broken = array.size - int(np.count_nonzero(np.isfinite(array)))
    if broken:
        return f"{broken:,} voxels of the label are NaN or infinite"
    fractions = array != np.rint(array)
    if fractions.any():
        example = float(array[fractions][0])
        return f"{np.count_nonzero(fractions):,} voxels of the label are no integers, such as {example:g}"
    if np.abs(array).max(initial=0) >= 2**31:
        return f"the label holds {float(np.abs(array).max()):g}, which is no label value"
    return array.astype(np.int32)


def _counts(array: NDArray[Any]) -> dict[int, int]:
    """Value -> voxels; by counting rather than sorting where the values are close together."""
    if array.size == 0:
        return {}
    low, high = int(array.min()), int(array.max())
    if high - low < _NARROW and low > -_WIDE and high < _WIDE:
        tally = np.zeros(high - low + 1, dtype=np.int64)
        for k in range(array.shape[2]):  # slice by slice: counting needs 8 bytes per voxel
            plane = array[:, :, k].ravel(order="K").astype(np.int64) - low
            tally += np.bincount(plane, minlength=len(tally))
        return {int(value) + low: int(tally[value]) for value in np.flatnonzero(tally)}
    values, tallies = np.unique(array, return_counts=True)
    return dict(zip(values.tolist(), tallies.tolist(), strict=True))
