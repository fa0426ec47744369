"""Codes and file values, and what declarations are refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.contracts import IGNORE, Labels
from medseg.data.labels import decode, encode, majority, paint, parse_labels, scan_labels
from medseg.errors import UserError

BRATS = Labels(("WT", "TC", "ET"), ((1, 2, 4), (1, 4), (4,)), overlapping=True)


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.integers(1, 65535), min_size=1, max_size=12, unique=True),
    overlapping=st.booleans(),
    ignore=st.booleans(),
    dtype=st.sampled_from([np.uint16, np.int32, np.int64, np.float64]),
    seed=st.integers(0, 99),
)
def test_encode_and_decode_are_inverse(
    values: list[int], overlapping: bool, ignore: bool, dtype: type, seed: int
) -> None:
    *names, last = [str(v) for v in values] if ignore and len(values) > 1 else [*map(str, values), ""]
    labels = Labels(tuple(names), tuple((int(n),) for n in names), overlapping, int(last) if last else None)
    rng = np.random.Generator(np.random.Philox(seed))
    array = rng.choice([0, *map(int, names), *([int(last)] if last else [])], size=(3, 4, 5)).astype(dtype)
    codes = encode(array, labels, "x")
    assert codes.dtype == np.uint8
    for value in np.unique(array):
        expected = 0 if value == 0 else IGNORE if labels.ignore == value else labels.code_of[int(value)]
        assert set(codes[array == value].tolist()) == {expected}
    np.testing.assert_array_equal(decode(codes, labels), array)


def test_regions_keep_every_value_apart() -> None:
    array = np.array([0, 1, 2, 4]).reshape(2, 2, 1)
    codes = encode(array, BRATS, "x")
    np.testing.assert_array_equal(codes.ravel(), [0, 1, 2, 3])
    np.testing.assert_array_equal(decode(codes, BRATS), array)
    masks = np.stack([np.isin(array, row) for row in BRATS.values])
    np.testing.assert_array_equal(paint(masks, BRATS), codes)


def test_merged_values_get_one_code_and_their_first_value() -> None:
    labels = parse_labels({"background": 0, "kidney": [1, 3], "cyst": 2}, "x")
    assert not labels.overlapping
    codes = encode(np.array([0, 1, 2, 3]), labels, "x")
    np.testing.assert_array_equal(codes, [0, 1, 2, 1])
    np.testing.assert_array_equal(decode(codes, labels), [0, 1, 2, 1])
    with pytest.raises(ValueError, match=r"\[9\]"):
        decode(np.array([9]), labels)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([0, 1, 7, 9]), r"7, 9; declared: 1, 2"),
        (np.array([0, -1]), "-1"),
        (np.array([0, 100_000]), "100000"),
        (np.array([0.0, 1.5]), r"not integers \(such as 1.5\)"),
        (np.array([0.0, np.nan]), "NaN or infinite"),
        (np.array([0.0, np.inf]), "NaN or infinite"),
        (np.array([0, 254], dtype=np.uint8), "254"),
        (np.array([0, 255], dtype=np.uint8), "255"),
    ],
)
def test_undeclared_values_are_listed(array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        encode(array, Labels(("a", "b"), ((1,), (2,))), "case.nii.gz")


def test_integers_in_disguise_are_read() -> None:
    labels = Labels(("a", "b"), ((1,), (2,)))
    np.testing.assert_array_equal(encode(np.array([0.0, 1.0, 2.0], np.float32), labels, "x"), [0, 1, 2])
    np.testing.assert_array_equal(encode(np.array([False, True]), labels, "x"), [0, 1])
    assert encode(np.zeros((0,), np.uint8), labels, "x").size == 0


def test_declarations() -> None:
    nnunet = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    labels = parse_labels(nnunet, "x")
    assert labels == Labels(("whole", "core", "enhancing"), ((1, 2, 3), (2, 3), (3,)), True, 4)
    inside_out = {"ET": [4], "TC": [1, 4], "WT": [1, 2, 4]}
    assert parse_labels(inside_out, "x").names == ("WT", "TC", "ET")
    assert parse_labels({"a": "1", "b": ["2", 3]}, "x").values == ((1,), (2, 3))
    assert parse_labels({"a": [1]}, "x", regions=True).overlapping
    for declared, message in (
        ({"background": 1}, "background is 0"),
        ({"a": 0}, "impossible"),
        ({"a": 70000}, "impossible"),
        ({"a": 1.5}, "give an integer"),
        ({"a": True}, "give an integer"),
        ({"a": "tumour"}, "give integers"),
        ({"a": []}, "give an integer"),
        ({"a": 1, "ignore": 1}, "ignore value 1"),
        ({str(k): k for k in range(1, 300)}, "too many"),
    ):
        with pytest.raises(UserError, match=message):
            parse_labels(declared, "x")


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 20)), elements=st.sampled_from([0, 1, 2, 255])
    )
)
def test_majority_is_what_a_count_says(opinions: np.ndarray) -> None:
    for found, column in zip(majority(list(opinions)), opinions.T, strict=True):
        votes = {code: int((column == code).sum()) for code in (1, 2, 0)}
        best = max(votes.values())
        assert found == (IGNORE if best == 0 else next(code for code, n in votes.items() if n == best))


def test_scan_names_what_is_there(tmp_path: Path) -> None:
    for k, values in enumerate(([0, 1], [0, 3], [0, 0.5], [0, np.nan])):
        array = np.resize(np.array(values, np.float32), (2, 2, 2))
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{k}.nii.gz")
    (tmp_path / "9.nii.gz").write_bytes(b"broken")
    found = scan_labels(sorted(tmp_path.iterdir()), "here")
    assert found == Labels(("label_1", "label_3"), ((1,), (3,)))
    assert scan_labels([tmp_path / "0.nii.gz"], "here").names == ("foreground",)
    assert scan_labels([], "here") == Labels((), ())
    image = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "image.nii.gz")
    with pytest.raises(UserError, match="1000 different values"):
        scan_labels([tmp_path / "image.nii.gz"], "here")
