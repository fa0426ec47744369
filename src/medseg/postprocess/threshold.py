"""Thresholds on probabilities, per class or region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.postprocess.decide import decided
from medseg.postprocess.nesting import Nesting
from medseg.postprocess.segmented import Segmented
from medseg.postprocess.step import Step


class Threshold(Step):
    """Decides again, with other thresholds than one half.

    A region is where its probability exceeds its threshold. Of exclusive classes the one with the largest
    ``p (1 - t) / t`` wins, the background with ``t = 1/2``: a class wins over the background alone where
    its share of the two exceeds ``t``, and thresholds of one half are the largest probability.

    Args:
        labels: what the codes mean.
        threshold: of every class or region, above 0 and below 1.
        per_name: of some of them, instead.

    Raises:
        UserError: a threshold that is none, or a name that the labels do not have.
    """

    NEEDS = ("probabilities",)

    def __init__(
        self, labels: Labels, *, threshold: float = 0.5, per_name: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(labels)
        Nesting(labels).positions(list(per_name or ()), "postprocess.per_name")
        given = dict.fromkeys(labels.names, threshold) | dict(per_name or {})
        for name, value in given.items():
            if not 0 < value < 1:
                problem = f"{value:g} of {name} is no threshold"
                raise UserError("postprocess.threshold", problem, "use a number above 0 and below 1")
        self.thresholds = tuple(float(given[name]) for name in labels.names)

    def __call__(self, case: Segmented) -> Segmented:
        """The case decided by the thresholds; needs probabilities."""
        if case.probabilities is None:
            raise ValueError("thresholds need probabilities")
        codes = np.empty_like(case.codes)
        for i, plane in enumerate(
            np.moveaxis(case.probabilities, 1, 0)
        ):  # little memory, whatever the volume
            codes[i] = decided(plane, self.labels, self.thresholds)
        return replace(case, codes=codes)
