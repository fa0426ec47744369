"""The fully connected CRF of Krähenbühl and Koltun (2011), in mm, for volumes and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.postprocess.components import box_of
from medseg.postprocess.decide import decided
from medseg.postprocess.segmented import Segmented
from medseg.postprocess.step import Step

UNDECIDED = 0.05
"""Voxels with less foreground than this are certain, and lie outside of the box that is looked at."""
Box = tuple[slice, ...]


class DenseCRF(Step):
    """Pulls the border of a prediction to the edges of the image, by mean-field inference.

    Each voxel is tied to every other: by ``exp(-d^2 / 2 distance^2 - |I_i - I_j|^2 / 2 intensity^2)``
    (appearance)
    and by ``exp(-d^2 / 2 smooth_distance^2)`` (smoothness), with a Potts compatibility. Both kernels are
    normalised symmetrically, as in Krähenbühl and Koltun (2013), so a weight is what all others together
    can say against the network. Overlapping regions are treated one by one.

    Args:
        labels: what the codes mean.
        iterations: of the mean field.
        distance_mm: over which voxels of alike intensity are tied.
        intensity: how alike, as a share of the image's range from its 1st to its 99th percentile.
        smooth_mm: over which neighbours are tied, whatever the image shows.
        appearance_weight: of the first kernel.
        smoothness_weight: of the second.

    Raises:
        UserError: a number that is out of range.
    """

    NEEDS = ("probabilities", "image")

    def __init__(
        self,
        labels: Labels,
        *,
        iterations: int = 5,
        distance_mm: float = 8.0,
        intensity: float = 0.1,
        smooth_mm: float = 1.5,
        appearance_weight: float = 2.0,
        smoothness_weight: float = 1.0,
    ) -> None:
        super().__init__(labels)
        widths = {"distance_mm": distance_mm, "intensity": intensity, "smooth_mm": smooth_mm}
        weights = {"appearance_weight": appearance_weight, "smoothness_weight": smoothness_weight}
        wrong = [name for name, value in widths.items() if value <= 0]
        wrong += [name for name, value in weights.items() if value < 0]
        if wrong or iterations < 1:
            name = wrong[0] if wrong else "iterations"
            raise UserError(f"postprocess.{name}", "is out of range", "use a positive number")
        self.iterations, self.intensity = iterations, intensity
        self.distance_mm, self.smooth_mm = distance_mm, smooth_mm
        self.appearance_weight, self.smoothness_weight = appearance_weight, smoothness_weight

    def __call__(self, case: Segmented) -> Segmented:
        """The case with sharpened codes and probabilities; needs probabilities and the image."""
        if case.probabilities is None or case.image is None:
            raise ValueError("a dense CRF needs probabilities and the image")
        box = self._box(case.probabilities, case.spacing)
        if box is None:
            return case
        inside = (slice(None), *box)
        sharp = np.array(case.probabilities, dtype=np.float32)
        sharp[inside] = self._sharpened(sharp[inside], scaled(case.image)[inside], case.spacing)
        codes = case.codes.copy()
        codes[box] = decided(sharp[inside], self.labels)
        return replace(case, codes=codes, probabilities=sharp)

    def _box(self, probabilities: NDArray[np.float32], spacing: Sequence[float]) -> Box | None:
        """Where there may be foreground, and twice the longest distance around it."""
        rows = probabilities if self.labels.overlapping else probabilities[1:]
        box = box_of(rows.max(axis=0) > UNDECIDED)
        if box is None:
            return None
        reach = [int(np.ceil(2 * max(self.distance_mm, self.smooth_mm) / step)) for step in spacing]
        return tuple(slice(max(s.start - r, 0), s.stop + r) for s, r in zip(box, reach, strict=True))

    def _sharpened(
        self, probabilities: NDArray[np.float32], image: NDArray[np.float32], spacing: Sequence[float]
    ) -> NDArray[np.float32]:
        from medseg.postprocess.mean_field import MeanField

        field = MeanField(
            image,
            spacing,
            distance=self.distance_mm,
            intensity=self.intensity,
            smooth=self.smooth_mm,
            weights=(self.appearance_weight, self.smoothness_weight),
        )
        if not self.labels.overlapping:
            return field.run(probabilities, self.iterations)
        pairs = (np.stack([1 - region, region]) for region in probabilities)
        return np.stack([field.run(pair, self.iterations)[1] for pair in pairs])


def scaled(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(M, *S)`` with each modality's 1st and 99th percentile, of what is not zero, at 0 and 1; clipped
    beyond.

    A modality that is missing or flat is left out of the comparison.
    """
    rows = []
    for channel in image:
        shown = channel[channel != 0]
        low, high = np.percentile(shown, [1, 99]) if shown.size else (0.0, 0.0)
        if high > low:
            rows.append(np.clip((channel - low) / (high - low), -0.5, 1.5))
    if not rows:
        return np.zeros((1, *image.shape[1:]), np.float32)
    return np.stack(rows).astype(np.float32)
