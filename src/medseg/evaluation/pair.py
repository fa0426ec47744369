"""One label of one case: what its metrics need of it, each computed once and only if asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from medseg.contracts import IGNORE
from medseg.evaluation.area import ElementDistances, element_distances
from medseg.evaluation.calibration import Reliability
from medseg.evaluation.code_maps import CodeMaps, Codes
from medseg.evaluation.lesions import LesionCounts, lesion_counts
from medseg.evaluation.overlap import Counts
from medseg.evaluation.settings import EvaluationSettings
from medseg.evaluation.surfaces import Mask, SurfaceDistances, label_distances


@dataclass
class Pair:
    """Both masks of one label.

    Attributes:
        counts: over the whole grid, without ignored voxels.
        codes: which codes make up the label.
        truth: the reference's codes, the whole grid.
        guess: the prediction's.
        maps: both, laid out for fast reading.
        spacing: mm per axis.
        diagonal: of the grid, in mm.
        settings: tolerance, connectivity and the like.
        reliability: of the label's probabilities, where there are any and the label is in the reference.
    """

    counts: Counts
    codes: tuple[int, ...]
    truth: Codes
    guess: Codes
    maps: CodeMaps
    spacing: tuple[float, ...]
    diagonal: float
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    reliability: Reliability | None = None

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of the grid that have more than one voxel."""
        return tuple(axis for axis, n in enumerate(self.truth.shape) if n > 1)

    @property
    def voxel_mm3(self) -> float:
        """The volume of a voxel."""
        return math.prod(self.spacing)

    @cached_property
    def masks(self) -> tuple[Mask, Mask]:
        """Reference and prediction, cut to the box that holds both, without ignored voxels."""
        region = self.maps.region(self.codes)
        member = np.zeros(256, bool)
        member[list(self.codes)] = True
        truth, guess = self.truth[region], self.guess[region]
        return member[truth], member[guess] & (truth != IGNORE)

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Between the two boundaries, in mm."""
        return label_distances(self.maps, self.codes, self.spacing, self.axes)

    @cached_property
    def elements(self) -> ElementDistances:
        """Between the two surfaces, by element, in mm."""
        return element_distances(self.maps, self.codes, self.spacing, self.axes)

    @cached_property
    def lesions(self) -> LesionCounts:
        """Connected components and how many of them match."""
        return lesion_counts(*self.masks, self.settings.lesion_connectivity, self.settings.lesion_iou)
