"""Calibration against torchmetrics, scikit-learn and a plain loop; and the files that it is read from."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import binary_calibration_error

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.evaluation.calibration import label_reliabilities, reliability
from medseg.evaluation.probabilities import read_channels
from medseg.evaluation.reliability_file import read_reliability, write_reliability
from medseg.evaluation.score import score_case
from medseg.evaluation.settings import EvaluationSettings

LABELS = Labels(("a", "b"), ((1,), (2,)))
SPACING = (1.0, 2.0, 4.0)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), bins=st.integers(2, 20), n=st.integers(1, 400))
def test_agrees_with_torchmetrics_and_sklearn(seed: int, bins: int, n: int) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    probability, present = rng.random(n), rng.random(n) < 0.4
    found = reliability(probability, present, bins)
    theirs = binary_calibration_error(torch.from_numpy(probability), torch.from_numpy(present).long(), bins)
    assert found.ece == pytest.approx(float(theirs), abs=1e-6)
    assert found.brier == pytest.approx(brier_score_loss(present, probability))
    assert found.counts.sum() == n


def test_certainty_belongs_to_the_last_bin() -> None:
    found = reliability(np.array([0.0, 0.1, 1.0]), np.array([False, False, True]), 10)
    assert found.counts.tolist() == [1, 1, *[0] * 7, 1]
    assert found.positives.tolist() == [*[0] * 9, 1]


def case() -> tuple[np.ndarray, list[np.ndarray]]:
    """Codes, some of them ignored, and a channel per label."""
    rng = np.random.Generator(np.random.Philox(4))
    truth = np.zeros((12, 10, 8), np.uint8)
    truth[4:7, 3:6, 2:4] = 1
    truth[6, 5, 3] = 255
    return truth, [rng.random(truth.shape).astype(np.float16) for _ in range(2)]


def test_the_box_is_around_the_reference_and_ignored_voxels_are_left_out() -> None:
    truth, channels = case()
    chosen = EvaluationSettings(calibration_margin_mm=4.0, calibration_bins=5)
    found, absent = label_reliabilities(channels, truth, LABELS, SPACING, chosen)
    assert absent is None
    box = (slice(0, 11), slice(1, 8), slice(1, 5))  # 4, 2 and 1 voxels more on each side
    valid = truth[box] != 255
    expected = reliability(channels[0][box][valid], (truth == 1)[box][valid], 5)
    assert found is not None
    assert (found.ece, found.brier) == (expected.ece, expected.brier)
    assert found.counts.sum() == valid.sum() == 11 * 7 * 4 - 1


def test_the_whole_image_is_looked_at_if_asked() -> None:
    truth, channels = case()
    chosen = EvaluationSettings(calibration_region="image")
    found = label_reliabilities(channels, truth, LABELS, SPACING, chosen)[0]
    assert found is not None
    assert found.counts.sum() == truth.size - 1


def test_rows_are_there_only_with_probabilities_and_nan_for_an_absent_label() -> None:
    truth, channels = case()
    known = label_reliabilities(channels, truth, LABELS, SPACING, EvaluationSettings())
    guess = np.where(truth == 1, 1, 0).astype(np.uint8)
    guess[0, 0, 0] = 2
    assert not [row for row in score_case(truth, guess, LABELS, SPACING) if row.metric in ("ece", "brier")]
    rows = {
        (row.label, row.metric): (row.value, row.status)
        for row in score_case(truth, guess, LABELS, SPACING, reliabilities=known)
    }
    assert rows["a", "ece"] == (known[0].ece, "ok")  # type: ignore[union-attr]
    assert rows["a", "brier"] == (known[0].brier, "ok")  # type: ignore[union-attr]
    assert math.isnan(rows["b", "ece"][0])
    assert rows["b", "ece"][1] == "nan"
    missed = score_case(truth, np.zeros_like(truth), LABELS, SPACING, reliabilities=known)
    told = {(row.label, row.metric): (row.value, row.status) for row in missed}
    assert told["a", "ece"] == (known[0].ece, "missed")  # type: ignore[union-attr]


def save(path: Path, array: np.ndarray, name: str = "probabilities", compressed: bool = True) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **{name: array})
    return path


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("labels", [LABELS, Labels(("w", "c", "e"), ((1, 2), (1,), (2,)), overlapping=True)])
def test_channels_are_those_of_the_labels(tmp_path: Path, labels: Labels, compressed: bool) -> None:
    array = np.random.Generator(np.random.Philox(0)).random((3, 4, 5, 6)).astype(np.float16)
    file = save(tmp_path / "c_probabilities.npz", array, compressed=compressed)
    channels = list(read_channels(file, (4, 5, 6), labels))
    expected = array if labels.overlapping else array[1:]
    np.testing.assert_array_equal(channels, expected)


GOOD = np.full((3, 2, 2, 2), 0.5, np.float16)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GOOD[:2], r"\(2, 2, 2, 2\) probabilities, and \(3, 2, 2, 2\)"),
        (np.asfortranarray(GOOD), "not in C order"),
        (GOOD.astype(np.uint8), "is uint8"),
        (GOOD * 3, "from 1.5 to 1.5, not probabilities"),
        (GOOD * np.nan, "not probabilities"),
    ],
)
def test_what_is_no_probability_is_refused_by_name(tmp_path: Path, array: np.ndarray, message: str) -> None:
    file = save(tmp_path / "c7_probabilities.npz", array)
    with pytest.raises(UserError, match=rf"c7_probabilities\.npz.*{message}"):
        list(read_channels(file, (2, 2, 2), LABELS))


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    file = save(tmp_path / "c_probabilities.npz", GOOD, name="logits")
    with pytest.raises(UserError, match="holds no readable probabilities"):
        list(read_channels(file, (2, 2, 2), LABELS))
    file.write_bytes(b"no archive")
    with pytest.raises(UserError, match="holds no readable probabilities"):
        list(read_channels(file, (2, 2, 2), LABELS))
    whole = io.BytesIO()
    np.save(whole, GOOD)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("probabilities.npy", whole.getvalue()[:-5])
    with pytest.raises(UserError, match="cut short"):
        list(read_channels(file, (2, 2, 2), LABELS))


def test_values_that_rounding_left_beside_the_range_are_taken_for_its_ends(tmp_path: Path) -> None:
    array = GOOD.copy()
    array[1, 0], array[2, 0] = 1.001, -0.0005
    channels = list(read_channels(save(tmp_path / "c_probabilities.npz", array), (2, 2, 2), LABELS))
    assert channels[0].max() == 1
    assert channels[1].min() == 0


def test_files_of_several_cases_add_up(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.Philox(6))
    parts = [(rng.random(50), rng.random(50) < 0.5) for _ in range(3)]
    for k, part in enumerate(parts):
        write_reliability(tmp_path / f"c{k}_reliability.csv", ["a", "b"], [reliability(*part, 15), None])
    total = read_reliability(tmp_path, ["c0", "c1", "c2", "c3"])
    expected = reliability(*(np.concatenate(both) for both in zip(*parts, strict=True)), 15)
    assert list(total) == ["a"]
    assert total["a"].ece == pytest.approx(expected.ece)
    assert total["a"].brier == pytest.approx(expected.brier)
    write_reliability(tmp_path / "c3_reliability.csv", ["a"], [reliability(*parts[0], 10)])
    with pytest.raises(UserError, match=r"c3_reliability\.csv: has 10 bins, others 15"):
        read_reliability(tmp_path, ["c0", "c3"])
    (tmp_path / "c3_reliability.csv").write_text("label,n\na,1\n")
    with pytest.raises(UserError, match="no table of reliability"):
        read_reliability(tmp_path, ["c3"])
