from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import UserError
from medseg.inference.inputs import find_cases, group_files

ROOT = Path("scans")


def grouped(names, modalities):
    cases, lines = group_files(ROOT, [ROOT / name for name in sorted(names)], modalities)
    return {c.id: {m: str(p.relative_to(ROOT)) for m, p in c.images.items()} for c in cases}, lines


@pytest.mark.parametrize(
    ("names", "modalities", "expected"),
    [
        (
            ["a_0000.nii.gz", "a_0001.nii.gz", "b_0001.nii.gz"],
            ["T1", "FLAIR"],
            {"a": {"T1": "a_0000.nii.gz", "FLAIR": "a_0001.nii.gz"}, "b": {"FLAIR": "b_0001.nii.gz"}},
        ),
        (
            ["B_t1.nii", "B_t1ce.nii", "B-flair.nii"],
            ["T1", "T1ce", "Flair"],
            {"B": {"T1": "B_t1.nii", "T1ce": "B_t1ce.nii", "Flair": "B-flair.nii"}},
        ),
        (
            ["t1_case_7.mha", "flair_case_7.mha"],
            ["t1", "flair"],
            {"case_7": {"t1": "t1_case_7.mha", "flair": "flair_case_7.mha"}},
        ),
        (
            ["C/t1.nrrd", "C/C_flair.nrrd"],
            ["t1", "flair"],
            {"C": {"t1": "C/t1.nrrd", "flair": "C/C_flair.nrrd"}},
        ),
        (["x/T1-post.nii"], ["T1 post"], {"x": {"T1 post": "x/T1-post.nii"}}),
        (
            ["flair/1.png", "T1/1.png", "T1/2.png"],
            ["T1", "flair"],
            {"1": {"flair": "flair/1.png", "T1": "T1/1.png"}, "2": {"T1": "T1/2.png"}},
        ),
        (
            ["patient_0001.nii.gz", "patient_0002.nii.gz"],
            ["MRI"],
            {
                "patient_0001": {"MRI": "patient_0001.nii.gz"},
                "patient_0002": {"MRI": "patient_0002.nii.gz"},
            },
        ),
        (["p_0000.nii.gz"], ["MRI"], {"p": {"MRI": "p_0000.nii.gz"}}),
        (["1.2.840.nii"], ["CT"], {"1.2.840": {"CT": "1.2.840.nii"}}),
        (
            ["ward/a.nii", "clinic/a.nii"],
            ["CT"],
            {"ward_a": {"CT": "ward/a.nii"}, "clinic_a": {"CT": "clinic/a.nii"}},
        ),
    ],
)
def test_naming_schemes(names, modalities, expected):
    found, lines = grouped(names, modalities)
    assert found == expected
    assert lines == []


def test_a_modality_is_a_whole_word():
    with pytest.raises(UserError, match="no file could be matched to T1, T2"):
        grouped(["HeadT1ce.nii", "xT2.nii"], ["T1", "T2"])


def test_files_that_fit_no_modality_or_fit_twice_are_named():
    found, lines = grouped(["a_t1.nii", "a_t2.nii", "a_seg.nii", "a-T1.nii"], ["t1", "t2"])
    assert set(found) == {"a"}
    assert len(lines) == 2
    assert any("a_seg.nii: its name says no modality" in line for line in lines)
    assert any("a second t1 of a" in line for line in lines)


def write(path, shape=(4, 5, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), path)


def test_a_folder_is_searched_but_not_where_predictions_go(tmp_path):
    for name in ("a.nii.gz", "deep/b.nii.gz", ".hidden/c.nii.gz", "out/d.nii.gz"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a scan")
    cases, lines = find_cases(tmp_path, ["MRI"], tmp_path / "out")
    assert [case.id for case in cases] == ["a", "deep_b"]
    assert lines == []


def test_one_file_is_one_case(tmp_path):
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "b.nii.gz")
    (case,), _ = find_cases(tmp_path / "a.nii.gz", ["MRI"], tmp_path / "out")
    assert (case.id, case.images) == ("a", {"MRI": tmp_path / "a.nii.gz"})


def test_a_4d_file_holds_every_modality(tmp_path):
    write(tmp_path / "a.nii.gz", (4, 5, 6, 2))
    (case,), _ = find_cases(tmp_path, ["T1", "T2"], tmp_path / "out")
    assert case.images == dict.fromkeys(("T1", "T2"), tmp_path / "a.nii.gz")
    assert case.components == {"T1": 0, "T2": 1}


def test_two_4d_files_of_one_name_are_named(tmp_path):
    write(tmp_path / "a.nii.gz", (4, 5, 6, 2))
    write(tmp_path / "a.nii", (4, 5, 6, 2))
    cases, lines = find_cases(tmp_path, ["T1", "T2"], tmp_path / "out")
    assert len(cases) == len(lines) == 1
    assert "a second file of a" in lines[0]


def test_nothing_to_predict(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        find_cases(tmp_path / "no", ["MRI"], tmp_path / "out")
    with pytest.raises(UserError, match="holds no scans"):
        find_cases(tmp_path, ["MRI"], tmp_path / "out")
