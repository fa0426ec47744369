"""Predicted cases with their references, on which post-processing is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.contracts import IGNORE, Labels
from medseg.data.cohort import Case, read_label, read_modality
from medseg.errors import UserError
from medseg.files import value_hash
from medseg.inference.finish import Finish, Spec, tempered
from medseg.inference.probability_file import read_probabilities
from medseg.postprocess.chain import Chain
from medseg.postprocess.decide import decided
from medseg.postprocess.nesting import Nesting
from medseg.postprocess.segmented import Segmented

Scores = tuple[float, ...]
"""A Dice per name."""


@dataclass(frozen=True)
class TuningCase:
    """A case that was predicted by a model that never saw its patient.

    Attributes:
        case: of the cohort, with a reference.
        fold: which it was held out of.
        probabilities: the file of the model's probabilities, on the case's own grid.
        modalities: of the model, in order.
    """

    case: Case
    fold: int
    probabilities: Path
    modalities: tuple[str, ...]

    @property
    def patient(self) -> str:
        """Whose it is."""
        return self.case.patient

    def reference(self, labels: Labels) -> NDArray[np.uint8]:
        """``(W, H, D)`` codes.

        Raises:
            UserError: it has none.
        """
        found = read_label(self.case, labels)
        if found is None:
            raise UserError(self.case.id, "has no reference label", "leave it out")
        codes: NDArray[np.uint8] = found.array
        return codes

    def segmented(self, labels: Labels, temperature: float, image: bool) -> Segmented:
        """The prediction without any post-processing, as `medseg predict` would start from it."""
        stored = torch.from_numpy(read_probabilities(self.probabilities).astype(np.float32))
        scores = tempered(stored, temperature, labels.overlapping).numpy()
        first = next(m for m in self.modalities if m in self.case.images)
        volume = read_modality(self.case, first)
        x, y, z = (float(step) for step in np.linalg.norm(volume.affine[:3, :3], axis=0))
        shown = self._image(volume.array.shape) if image else None
        return Segmented(decided(scores, labels), (x, y, z), scores, shown)

    def _image(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        image = np.zeros((len(self.modalities), *shape), np.float32)
        for channel, modality in enumerate(self.modalities):
            if modality in self.case.images:
                image[channel] = read_modality(self.case, modality).array
        return image


class Scorer:
    """The Dice of cases after chains; whatever was scored once is remembered.

    Args:
        labels: what the codes mean.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels, self.nesting = labels, Nesting(labels)
        self._known: dict[tuple[str, str], Scores] = {}

    def table(self, cases: Sequence[TuningCase], finishes: Sequence[Finish]) -> NDArray[np.float64]:
        """``(finishes, cases, names)``; each case is read once."""
        keys = [value_hash(finish.decides) for finish in finishes]
        for case in cases:
            due = {k: f for k, f in zip(keys, finishes, strict=True) if (case.case.id, k) not in self._known}
            if due:
                for key, scores in zip(due, self._scored(case, list(due.values())), strict=True):
                    self._known[case.case.id, key] = scores
        return np.array([[self._known[case.case.id, key] for case in cases] for key in keys])

    def _scored(self, case: TuningCase, finishes: Sequence[Finish]) -> Iterable[Scores]:
        truth = case.reference(self.labels)
        image = any("image" in Chain(self.labels, steps=finish.postprocess).needs for finish in finishes)
        left: dict[str, Segmented] = {}
        for finish in finishes:
            yield self._dice(truth, self._after(case, finish, finish.postprocess, image, left).codes)

    def _after(
        self, case: TuningCase, finish: Finish, steps: Sequence[Spec], image: bool, left: dict[str, Segmented]
    ) -> Segmented:
        """What the steps leave; chains that begin alike share their beginning."""
        key = value_hash([finish.temperature, list(steps)])
        if key not in left:
            if not steps:
                left[key] = case.segmented(self.labels, finish.temperature, image)
            else:
                before = self._after(case, finish, steps[:-1], image, left)
                left[key] = Chain(self.labels, steps=steps[-1:])(before)
        return left[key]

    def _dice(self, truth: NDArray[np.uint8], codes: NDArray[np.uint8]) -> Scores:
        """Per name; 1 where both are empty, so that a false object in a healthy case costs something."""
        scored = truth != IGNORE
        found = []
        for k, members in enumerate(self.labels.members):
            one, other = np.isin(truth, members), self.nesting.mask(codes, (k,)) & scored
            sizes = np.count_nonzero(one) + np.count_nonzero(other)
            found.append(2 * np.count_nonzero(one & other) / sizes if sizes else 1.0)
        return tuple(found)


def median_volumes(cases: Sequence[TuningCase], labels: Labels) -> Mapping[str, float]:
    """Name -> median volume in mm3 of its references, of the cases that show it."""
    sizes: dict[str, list[float]] = {name: [] for name in labels.names}
    for case in cases:
        truth = read_label(case.case, labels)
        if truth is None:
            continue
        voxel = abs(float(np.linalg.det(truth.affine[:3, :3])))
        counts: NDArray[Any] = np.bincount(truth.array.ravel(), minlength=IGNORE + 1)
        for name, members in zip(labels.names, labels.members, strict=True):
            if total := int(counts[list(members)].sum()):
                sizes[name].append(total * voxel)
    return {name: float(np.median(found)) if found else 0.0 for name, found in sizes.items()}
