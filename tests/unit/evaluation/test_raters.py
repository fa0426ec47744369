"""How well raters agree, on real files of three raters."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.data.cohort import Case, Cohort
from medseg.evaluation.raters import rater_rows
from medseg.evaluation.settings import EvaluationSettings

DICE = EvaluationSettings(metrics=["dice"])


def cohort(folder: Path, widths: dict[str, int], label: str | None) -> Cohort:
    """One case of 10 voxels a side; a rater marks the first ``width`` planes."""
    paths = {}
    for rater, width in widths.items():
        array = np.zeros((10, 10, 10), np.uint8)
        array[:width] = 1
        paths[rater] = folder / f"{rater}.nii.gz"
        nib.save(nib.Nifti1Image(array, np.eye(4)), paths[rater])
    case = Case("a", "pa", {}, paths.get(label) if label else None, raters=paths)
    return Cohort("toy", (case,), (), Labels(("organ",), ((1,),)), folder, 3)


def dice(a: int, b: int) -> float:
    return 2 * min(a, b) / (a + b)


def test_others_are_held_against_the_rater_who_is_the_reference(tmp_path: Path) -> None:
    found = cohort(tmp_path, {"first": 4, "second": 5, "third": 2}, label="first")
    (row,) = rater_rows(found, found.cases, DICE)
    assert row.value == pytest.approx((dice(4, 5) + dice(4, 2)) / 2)
    assert (row.case, row.patient, row.status) == ("a", "pa", "ok")


def test_of_a_majority_every_pair_is_held_against_one_another(tmp_path: Path) -> None:
    found = cohort(tmp_path, {"x": 4, "y": 5, "z": 0}, label=None)
    (row,) = rater_rows(found, found.cases, DICE)
    assert row.value == pytest.approx((dice(4, 5) + 0 + 0) / 3)
    assert row.status == "missed"


def test_one_rater_agrees_with_nobody(tmp_path: Path) -> None:
    found = cohort(tmp_path, {"only": 4}, label=None)
    assert rater_rows(found, found.cases, DICE) == []
