"""Predictions in real files, scored against a real cohort."""

from __future__ import annotations

import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.data.cohort import Case, Cohort
from medseg.errors import Problems, UserError
from medseg.evaluation.folder import evaluate_predictions, find_predictions
from medseg.evaluation.pictures import CohortPictures, canonical
from medseg.evaluation.reliability_file import read_reliability
from medseg.evaluation.settings import EvaluationSettings

LABELS = Labels(("organ", "lesion"), ((1,), (7,)), ignore=9)
AFFINE = np.array([[-0.8, 0, 0, 10], [0, 0, 2.5, -4], [0, 0.8, 0, 3], [0, 0, 0, 1.0]])


def save(array: np.ndarray, path: Path, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def volume(index: int) -> np.ndarray:
    label = np.zeros((12, 10, 6), np.uint8)
    label[2:9, 2:8, 1:5] = 1
    label[4:6, 4:6, 2:4] = 7
    label[0, 0, 0] = 9
    return np.roll(label, index, axis=0)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    cases = []
    for index in range(3):
        image = save(volume(index).astype(np.float32) * 10, tmp_path / "images" / f"c{index}.nii.gz")
        label = save(volume(index), tmp_path / "labels" / f"c{index}.nii.gz")
        cases.append(Case(f"c{index}", f"p{index}", {"ct": image}, label, centre="north"))
        save(np.roll(volume(index), 1, axis=1), tmp_path / "predictions" / f"c{index}.nii.gz")
    return Cohort("tiny", tuple(cases), ("ct",), LABELS, tmp_path, 3)


def test_scores_are_in_the_order_of_the_cases_whatever_the_workers(cohort: Cohort) -> None:
    folder = cohort.root / "predictions"
    done: list[str] = []
    lock = threading.Lock()

    def note(case: str) -> None:
        with lock:
            done.append(case)

    one = evaluate_predictions(cohort, cohort.cases, folder, EvaluationSettings(workers=1), "test")
    three = evaluate_predictions(
        cohort, cohort.cases, folder, EvaluationSettings(workers=3), "test", on_case=note
    )
    assert one == three
    assert sorted(done) == ["c0", "c1", "c2"]
    assert list(dict.fromkeys(row.case for row in one)) == ["c0", "c1", "c2"]
    assert {(row.part, row.centre) for row in one} == {("test", "north")}
    found = {(row.label, row.metric): row.value for row in one if row.case == "c0"}
    assert found["organ", "hd"] == pytest.approx(0.8, abs=1e-5)  # one voxel along the second axis
    assert 0 < found["lesion", "dice"] < 1


def test_probabilities_beside_a_prediction_are_scored_too(cohort: Cohort) -> None:
    folder = cohort.root / "predictions"
    predicted = np.asarray(nib.load(folder / "c1.nii.gz").dataobj)
    channels = np.stack([np.where(predicted == value, 0.8, 0.1) for value in (0, 1, 7)])
    np.savez_compressed(folder / "c1_probabilities.npz", probabilities=channels.astype(np.float16))
    rows = evaluate_predictions(cohort, cohort.cases, folder, EvaluationSettings(workers=2), "test")
    found = {(row.label, row.metric): row for row in rows if row.metric in ("ece", "brier")}
    assert {row.case for row in found.values()} == {"c1"}
    # All of these images lies within 10 mm of the organ; one voxel is ignored.
    present, valid = volume(1) == 1, volume(1) != 9
    expected = np.mean((channels[1] - present)[valid] ** 2)
    assert found["organ", "brier"].value == pytest.approx(expected, abs=1e-4)
    assert list(read_reliability(folder, ["c0", "c1", "c2"])) == ["organ", "lesion"]
    only = EvaluationSettings(metrics=["dice"])
    assert {row.metric for row in evaluate_predictions(cohort, cohort.cases, folder, only)} == {"dice"}


def test_probabilities_on_another_grid_are_refused_by_name(cohort: Cohort) -> None:
    folder = cohort.root / "predictions"
    np.savez(folder / "c2_probabilities.npz", probabilities=np.zeros((3, 12, 10, 5), np.float16))
    with pytest.raises(UserError, match=r"c2_probabilities\.npz: holds \(3, 12, 10, 5\) probabilities"):
        evaluate_predictions(cohort, cohort.cases, folder)


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (np.zeros((12, 10, 5), np.uint8), AFFINE, r"c1\.nii\.gz: its grid is \(12, 10, 5\)"),
        (
            volume(1),
            AFFINE + np.eye(4)[:, [3]] @ np.array([[0, 0, 0, 0.5]]) * 0 + np.diag([0.1, 0, 0, 0]),
            "mm beside",
        ),
        (np.full((12, 10, 6), 3, np.uint8), AFFINE, r"c1\.nii\.gz: holds values that are not declared"),
    ],
)
def test_a_prediction_on_another_grid_is_refused_by_name(
    cohort: Cohort, array: np.ndarray, affine: np.ndarray, message: str
) -> None:
    save(array, cohort.root / "predictions" / "c1.nii.gz", affine)
    with pytest.raises(UserError, match=message):
        evaluate_predictions(cohort, cohort.cases, cohort.root / "predictions")


def test_all_missing_and_double_predictions_are_told_at_once(cohort: Cohort) -> None:
    folder = cohort.root / "predictions"
    (folder / "c0.nii.gz").unlink()
    save(volume(1), folder / "c1.nii")
    with pytest.raises(Problems) as caught:
        find_predictions(folder, ["c0", "c1", "c2", "c9"])
    assert [line.partition(":")[0].rpartition("/")[2] for line in caught.value.lines] == [
        "c0.*",
        "c9.*",
        "c1.nii.gz",
    ]
    with pytest.raises(UserError, match="not a folder"):
        find_predictions(folder / "nowhere", ["c0"])


def test_a_patient_that_the_model_was_trained_on_is_refused(cohort: Cohort) -> None:
    with pytest.raises(UserError, match="c1: the model was trained on its patient p1"):
        evaluate_predictions(
            cohort, cohort.cases, cohort.root / "predictions", seen=lambda patient: patient == "p1"
        )
    hidden = cohort.without_labels(["c2"])
    with pytest.raises(UserError, match="c2: has no reference label"):
        evaluate_predictions(hidden, hidden.cases, cohort.root / "predictions")


def test_pictures_are_read_when_asked_for_and_turned_towards_ras(cohort: Cohort) -> None:
    pictures = CohortPictures(cohort, cohort.root / "predictions", ["c0", "c1"])
    assert list(pictures) == ["c0", "c1"]
    assert "c2" not in pictures
    found = pictures["c0"]
    assert found.image.shape == found.reference.shape == found.prediction.shape == (12, 6, 10)
    assert found.spacing == pytest.approx((0.8, 2.5, 0.8), abs=1e-6)
    turned = nib.as_closest_canonical(nib.Nifti1Image(volume(0), AFFINE))
    assert (canonical(volume(0), AFFINE) == np.asarray(turned.dataobj)).all()
    assert (found.reference == 255).sum() == 1
