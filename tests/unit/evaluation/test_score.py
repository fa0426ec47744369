"""Whole cases: labels, regions, the ignore code, and what does not change a score."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.score import diagonal, score_case
from medseg.evaluation.settings import DEFAULT_METRICS, METRIC_NAMES, EvaluationSettings
from medseg.evaluation.summary import receipt

CLASSES = Labels(("a", "b"), ((1,), (2,)))
REGIONS = Labels(("whole", "core"), ((1, 2, 4), (1, 4)), overlapping=True)
SPACING = (1.0, 0.5, 3.0)
# The thinning behind clDice is not the same from every side.
MOST = EvaluationSettings(metrics=[name for name in METRIC_NAMES if name != "cldice"])
CODES = arrays(np.uint8, (4, 5, 3), elements=st.sampled_from([0, 1, 2]))


def values(*arguments: object, **more: object) -> dict[tuple[str, str], float]:
    return {(row.label, row.metric): row.value for row in score_case(*arguments, MOST, **more)}  # type: ignore[arg-type]


def same(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert right[key] == pytest.approx(value, nan_ok=True), key


@settings(deadline=None, max_examples=30)
@given(reference=CODES, prediction=CODES)
def test_mirrored_and_turned_images_score_the_same(reference: np.ndarray, prediction: np.ndarray) -> None:
    plain = values(reference, prediction, CLASSES, SPACING)
    same(plain, values(reference[::-1, :, ::-1], prediction[::-1, :, ::-1], CLASSES, SPACING))
    turned = [volume.transpose(2, 0, 1) for volume in (reference, prediction)]
    same(plain, values(*turned, CLASSES, (SPACING[2], SPACING[0], SPACING[1])))
    same(plain, values(np.asfortranarray(reference), np.asfortranarray(prediction), CLASSES, SPACING))


@settings(deadline=None, max_examples=30)
@given(reference=CODES, prediction=CODES)
def test_more_background_changes_only_specificity_and_the_diagonal(
    reference: np.ndarray, prediction: np.ndarray
) -> None:
    padded = [np.pad(volume, 4) for volume in (reference, prediction)]
    left, right = values(reference, prediction, CLASSES, SPACING), values(*padded, CLASSES, SPACING)
    for row in score_case(reference, prediction, CLASSES, SPACING, MOST):
        key = (row.label, row.metric)
        if row.metric != "specificity" and not (row.unit == "mm" and row.status == "missed"):
            assert right[key] == pytest.approx(left[key], nan_ok=True), key


@settings(deadline=None, max_examples=30)
@given(reference=CODES, prediction=CODES, hidden=arrays(bool, (4, 5, 3)))
def test_ignored_voxels_may_be_predicted_as_anything(
    reference: np.ndarray, prediction: np.ndarray, hidden: np.ndarray
) -> None:
    reference = np.where(hidden, np.uint8(255), reference)
    other = np.where(hidden, np.uint8(1), prediction)
    same(values(reference, prediction, CLASSES, SPACING), values(reference, other, CLASSES, SPACING))


def test_a_region_is_the_union_of_its_codes() -> None:
    rng = np.random.Generator(np.random.Philox(5))
    reference, prediction = rng.integers(0, 4, (2, 8, 7, 6)).astype(np.uint8)
    found = values(reference, prediction, REGIONS, SPACING)
    for name, codes in (("whole", (1, 2, 3)), ("core", (1, 3))):
        masks = [np.isin(volume, codes).astype(np.uint8) for volume in (reference, prediction)]
        alone = values(*masks, Labels((name,), ((1,),)), SPACING)
        same(alone, {key: value for key, value in found.items() if key[0] == name})


def test_a_perfect_prediction() -> None:
    reference = np.zeros((6, 6, 4), np.uint8)
    reference[1:4, 1:4, 1:3] = 1
    found = values(reference, reference, Labels(("a",), ((1,),)), SPACING)
    volume = 18 * SPACING[0] * SPACING[1] * SPACING[2] / 1000
    for (_, metric), value in found.items():
        kind = METRICS[metric]
        lesions = 1.0 if kind.unit == "lesions" else volume
        expected = {"higher": 1.0, "neither": lesions}.get(kind.better, 0.0)
        assert value == pytest.approx(expected), metric


def test_distances_are_in_mm_of_each_axis() -> None:
    reference, prediction = np.zeros((9, 9, 9), np.uint8), np.zeros((9, 9, 9), np.uint8)
    reference[2, 4, 4], prediction[2, 4, 6] = 1, 1
    found = values(reference, prediction, Labels(("a",), ((1,),)), SPACING)
    assert found["a", "hd"] == found["a", "hd95"] == found["a", "assd"] == 6.0


def test_everything_ignored_is_not_a_number() -> None:
    ignored = np.full((3, 3, 3), 255, np.uint8)
    assert all(
        math.isnan(value) for value in values(ignored, np.ones_like(ignored), CLASSES, SPACING).values()
    )


def test_rows_say_whose_they_are_and_follow_the_settings() -> None:
    blank = np.zeros((3, 3, 1), np.uint8)
    about = {"case": "c1", "patient": "p1", "centre": None, "part": "test"}
    chosen = EvaluationSettings(metrics=["hd95", "dice"])
    rows = score_case(blank, blank, CLASSES, (1, 1, 1), chosen, **about)
    assert [(row.label, row.metric) for row in rows] == [
        ("a", "dice"),
        ("a", "hd95"),
        ("b", "dice"),
        ("b", "hd95"),
    ]
    assert {(row.case, row.patient, row.centre, row.part) for row in rows} == {("c1", "p1", "", "test")}


def test_the_diagonal_goes_from_corner_to_corner_and_leaves_out_flat_axes() -> None:
    assert diagonal((30, 40, 1), (0.1, 0.1, 5.0)) == pytest.approx(5.0)
    assert diagonal((4, 4, 2), (1.0, 1.0, 1.0)) == pytest.approx(6.0)
    assert diagonal((1, 1, 1), (1.0, 2.0, 1.5)) == 2.0


@pytest.mark.parametrize(
    ("prediction", "spacing", "message"),
    [
        (np.zeros((3, 3, 2), np.uint8), (1, 1, 1), r"c7: the prediction is \(3, 3, 2\) voxels"),
        (np.zeros((3, 3, 3), np.uint8), (1, 1, 0), "c7: spacing .* is not 3 positive"),
        (np.zeros((3, 3, 3), np.uint8), (1, 1), "c7: spacing"),
        (np.full((3, 3, 3), -1), (1, 1, 1), "c7: labels are int64"),
        (np.full((3, 3, 3), 0.5), (1, 1, 1), "c7: labels are float64"),
    ],
)
def test_what_cannot_be_scored_is_refused(prediction: np.ndarray, spacing: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        score_case(np.zeros((3, 3, 3), np.uint8), prediction, CLASSES, spacing, case="c7")


def test_the_usual_metrics_are_cheap_and_groups_stand_for_several() -> None:
    assert EvaluationSettings().chosen == DEFAULT_METRICS
    assert not {"cldice", "lesion_f1", "hd95_area"} & set(DEFAULT_METRICS)
    assert EvaluationSettings(metrics=["all"]).chosen == METRIC_NAMES
    assert EvaluationSettings(metrics=["lesions", "dice"]).chosen == (
        "dice", "lesion_f1", "lesion_sensitivity", "lesion_precision",
        "lesions_reference", "lesions_prediction", "lesions_found",
    )  # fmt: skip
    assert EvaluationSettings(metrics=["cldice", "default"]).chosen == tuple(
        name for name in METRIC_NAMES if name in (*DEFAULT_METRICS, "cldice")
    )


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (
            {"metrics": ["dise"]},
            "metrics: there is no metric 'dise'; choose from default, all, lesions, dice",
        ),
        ({"metrics": []}, "metrics: none is chosen"),
        ({"lesion_connectivity": 8}, "lesion_connectivity: .* give 6, 18 or 26"),
        ({"lesion_iou": 1.5}, "lesion_iou: "),
        ({"calibration_bins": 1}, "calibration_bins: "),
        ({"calibration_region": "organ"}, "calibration_region: there is no 'organ'; give box or image"),
        ({"calibration_margin_mm": -1.0}, "calibration_margin_mm: "),
        ({"surface_tolerance_mm": math.nan}, "surface_tolerance_mm: "),
    ],
)
def test_settings_that_cannot_work_are_told(wrong: dict, field: str) -> None:
    (problem,) = EvaluationSettings(**wrong).problems()
    assert re.match(field, problem)


def test_definitions_say_what_the_settings_are() -> None:
    chosen = EvaluationSettings(
        surface_tolerance_mm=1.5, lesion_connectivity=6, lesion_iou=0.0, calibration_bins=10,
        calibration_region="image",
    )  # fmt: skip
    told = {name: receipt(name, chosen).definition for name in METRICS}
    assert "within 1.5 mm" in told["surface_dice_area"]
    assert (
        "6-connected components; found ones match one predicted lesion each, with any overlap"
        in told["lesion_f1"]
    )
    assert "in 10 bins of equal width, over the voxels of the whole image" in told["ece"]
    assert "of the box around the reference, 10 mm wider" in receipt("brier", EvaluationSettings()).definition
