"""Which cases a report shows, and their pictures: three planes with both outlines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE
from medseg.evaluation.cases import Row
from medseg.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from medseg.data.cohort import Cohort

REFERENCE_COLOUR = "#3ddbd9"
PREDICTION_COLOUR = "#ffb000"


@dataclass(frozen=True)
class CasePicture:
    """What is drawn of a case, on one grid in canonical (RAS+) order.

    Attributes:
        image: one modality ``(W, H, D)``.
        spacing: mm per axis.
        reference: codes ``(W, H, D)``.
        prediction: codes ``(W, H, D)``.
    """

    image: NDArray[Any]
    spacing: tuple[float, float, float]
    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """A case of the report: its id, why it is shown, and the rank metric's mean over its labels."""

    case: str
    why: str
    metric: str
    value: float


def cases_to_show(rows: Sequence[Row], worst: int) -> list[Shown]:
    """The ``worst`` cases, worst first, then the median case of all, by mean Dice over the labels.

    Where Dice was not computed, the first metric that was and has a good side ranks them. Cases without any
    number (nothing there, nothing predicted) are not ranked.
    """
    names = {row.metric for row in rows}
    sided = (name for name, metric in METRICS.items() if metric.better in ("higher", "lower"))
    metric = next((name for name in sided if name in names), None)
    if metric is None:
        return []
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.metric == metric and row.status != "nan":
            values.setdefault(row.case, []).append(row.value)
    sign = 1.0 if METRICS[metric].better == "higher" else -1.0
    means = {case: math.fsum(group) / len(group) for case, group in values.items()}
    ranked = sorted(means, key=lambda case: (sign * means[case], case))
    chosen = [(case, _place(rank)) for rank, case in enumerate(ranked[:worst])]
    median = ranked[len(ranked) // 2] if ranked else None
    if median is not None and median not in ranked[:worst]:
        chosen.append((median, "median"))
    return [Shown(case, why, metric, means[case]) for case, why in chosen]


def _place(rank: int) -> str:
    words = ("worst", "second worst", "third worst")
    return words[rank] if rank < len(words) else f"{rank + 1}th worst"


def draw(picture: CasePicture, width_px: int = 1100) -> bytes:
    """A PNG of the planes in which reference and prediction differ most, both outlined per class."""
    from medseg.data.overlay import busiest_voxel, render_planes

    known = picture.reference != IGNORE
    layers = (
        (picture.reference, REFERENCE_COLOUR),
        (np.where(known, picture.prediction, 0), PREDICTION_COLOUR),
    )
    outlines = [
        (volume == code, colour)
        for volume, colour in layers
        for code in np.unique(volume)
        if code not in (0, IGNORE)
    ]
    differ = (picture.reference != picture.prediction) & known
    centre = busiest_voxel([differ], picture.image.shape) if differ.any() else None
    return render_planes(picture.image, picture.spacing, outlines, centre=centre, width_px=width_px)


class CohortPictures(Mapping[str, CasePicture]):
    """The pictures of a cohort's cases beside a folder of predictions; a case is read when asked for.

    Args:
        cohort: the cases with their images and references.
        predictions: the folder of label files named by case id.
        ids: the cases that have a prediction.
        modality: the image to draw, by default each case's first.
    """

    def __init__(
        self, cohort: Cohort, predictions: Path, ids: Sequence[str], modality: str | None = None
    ) -> None:
        self._cohort, self._predictions, self._ids, self._modality = cohort, predictions, tuple(ids), modality

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, case_id: str) -> CasePicture:
        from medseg.data.cohort import read_label, read_modality
        from medseg.evaluation.folder import find_predictions, read_prediction

        if case_id not in self._ids:
            raise KeyError(case_id)
        case, labels = self._cohort.case(case_id), self._cohort.labels
        wanted = self._modality
        modality = wanted if wanted is not None and wanted in case.images else next(iter(case.images))
        image, reference = read_modality(case, modality), read_label(case, labels)
        if reference is None:
            raise KeyError(case_id)
        prediction = read_prediction(find_predictions(self._predictions, [case_id])[case_id], labels)
        return picture_of(image.array, image.affine, reference.array, prediction.array)


def picture_of(
    image: NDArray[Any],
    affine: NDArray[np.float64],
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
) -> CasePicture:
    """A picture of arrays ``(W, H, D)`` that share a grid with this affine."""
    from medseg.evaluation.folder import spacing_of

    steps = spacing_of(affine)
    i, j, k = (steps[axis] for axis, _ in _axes(affine, image.shape))
    turned = [canonical(array, affine) for array in (image, reference, prediction)]
    return CasePicture(turned[0], (i, j, k), turned[1], turned[2])


def canonical(array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """The array with its axes permuted and flipped towards RAS+; a 2D image is left as it is."""
    order = _axes(affine, array.shape)
    turned = array.transpose([axis for axis, _ in order])
    return turned[tuple(slice(None, None, step) for _, step in order)]


def _axes(affine: NDArray[np.float64], shape: Sequence[int]) -> list[tuple[int, int]]:
    """Per canonical axis the array's axis and the step, 1 or -1, that runs along it."""
    if len(shape) == 3 and shape[2] == 1:
        return [(0, 1), (1, 1), (2, 1)]
    from nibabel.orientations import io_orientation

    found = io_orientation(affine)
    order = {int(target): (axis, int(step)) for axis, (target, step) in enumerate(found)}
    return [order[axis] for axis in range(3)]
