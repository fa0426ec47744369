"""Counts and overlap against counting by hand and against SimpleITK."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.evaluation import overlap

CODES = arrays(np.uint8, (3, 4, 2), elements=st.sampled_from([0, 1, 2, 3, 255]))


@settings(deadline=None, max_examples=60)
@given(reference=CODES, prediction=CODES, codes=st.sampled_from([(1,), (2, 3), (1, 2, 3)]))
def test_counts_are_those_of_a_loop(
    reference: np.ndarray, prediction: np.ndarray, codes: tuple[int, ...]
) -> None:
    tp = fp = fn = tn = 0
    for truth, guess in zip(reference.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if truth == 255:
            continue
        tp += truth in codes and guess in codes
        fp += truth not in codes and guess in codes
        fn += truth in codes and guess not in codes
        tn += truth not in codes and guess not in codes
    counts = overlap.label_counts(overlap.confusion(reference, prediction), codes)
    assert counts == overlap.Counts(tp, fp, fn, tn)


def test_agrees_with_simpleitk() -> None:
    rng = np.random.Generator(np.random.Philox(3))
    reference, prediction = (rng.random((2, 9, 8, 7)) < 0.4).astype(np.uint8)
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(sitk.GetImageFromArray(reference), sitk.GetImageFromArray(prediction))
    counts = overlap.label_counts(overlap.confusion(reference, prediction), (1,))
    assert overlap.dice(counts) == pytest.approx(measures.GetDiceCoefficient(), abs=1e-12)
    assert overlap.iou(counts) == pytest.approx(measures.GetJaccardCoefficient(), abs=1e-12)
    # ITK takes its second image as the truth.
    assert overlap.precision(counts) == pytest.approx(1 - measures.GetFalseNegativeError(), abs=1e-12)


def test_a_predicted_ignore_code_is_no_way_out() -> None:
    reference, prediction = np.array([[1, 1, 0, 255]], np.uint8), np.array([[1, 255, 255, 1]], np.uint8)
    counts = overlap.label_counts(overlap.confusion(reference, prediction), (1,))
    assert counts == overlap.Counts(tp=1, fp=0, fn=1, tn=1)


def test_volumes_are_in_ml() -> None:
    counts = overlap.Counts(tp=900, fp=600, fn=100, tn=0)
    assert overlap.volume_error(counts, voxel_mm3=2.0) == pytest.approx(1.0)
    assert overlap.relative_volume_error(counts) == pytest.approx(0.5)


def test_nothing_to_divide_by_is_not_a_number() -> None:
    nothing = overlap.Counts(0, 0, 0, 8)
    assert math.isnan(overlap.dice(nothing))
    assert math.isnan(overlap.sensitivity(nothing))
    assert overlap.specificity(nothing) == 1.0
