"""What a cohort may not be made of: unsafe ids, doubtful patients, labels that nobody declared."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.cli import main
from medseg.data.assemble import assemble
from medseg.data.cohort import Case, Cohort
from medseg.data.settings import DataSettings, SplitSettings
from medseg.data.source import open_cohort
from medseg.data.splits import TEST, make_split
from medseg.errors import Problems


def scan(path: Path, value: int = 1) -> Path:
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), value, dtype=np.int16), np.eye(4)), path)
    return path


def table(root: Path, *rows: str, **settings: object) -> Cohort:
    """A table of one image that all rows share, opened."""
    scan(root / "i.nii")
    scan(root / "l.nii")
    (root / "cases.csv").write_text("\n".join(rows) + "\n")
    return open_cohort(DataSettings(root=str(root), **settings))  # type: ignore[arg-type]


def test_a_blank_patient_names_its_line(tmp_path: Path) -> None:
    rows = ["id,patient,t1", "a1,P1,i.nii", "a2,,i.nii", "b1,P2,i.nii", "c1,,i.nii"]
    with pytest.raises(Problems) as found:
        table(tmp_path, *rows)
    assert [line.split(": ")[1] for line in found.value.lines] == ["line 3", "line 5"]
    assert all("patient is blank" in line for line in found.value.lines)
    cohort = table(tmp_path, *rows, patient_pattern="^(.)")
    assert [case.patient for case in cohort.cases] == ["P1", "a", "P2", "c"]
    assert [case.patient for case in table(tmp_path, "id,t1", "a1,i.nii").cases] == ["a1"]


def test_a_table_says_who_is_tested_even_without_a_label(tmp_path: Path) -> None:
    labelled = [f"t{n},i.nii,l.nii,{n % 2}" for n in range(4)]
    cohort = table(tmp_path, "id,t1,label,fold", "a,i.nii,,test", "b,i.nii,l.nii,-1", "c,i.nii,,0", *labelled)
    split = make_split(cohort, SplitSettings(5))
    assert (split.folds, split.test_patients) == (2, ("a", "b"))
    assert split.patients["c"] == 0
    assert {case.id for case in split.cases(cohort, 0, "train")} == {"t1", "t3"}
    assert [case.id for case in split.cases(cohort, 0, "test")] == ["a", "b"]


@pytest.mark.parametrize("fold", ["-2", "1.5", "x", "--1", "\u00b2", "Tests"])
def test_other_folds_are_refused(tmp_path: Path, fold: str) -> None:
    with pytest.raises(Problems, match="line 2: fold"):
        table(tmp_path, "id,t1,fold", f"a,i.nii,{fold}")


def test_a_fold_may_be_written_in_capitals(tmp_path: Path) -> None:
    cohort = table(tmp_path, "id,t1,label,fold", "a,i.nii,l.nii,TEST", "b,i.nii,l.nii,0")
    assert make_split(cohort, SplitSettings()).patients == {"a": TEST, "b": 0}


def test_labels_found_in_label_files_are_said_to_be(tmp_path: Path) -> None:
    rows = ["id,t1,label", "a,i.nii,l.nii"]
    assert table(tmp_path, *rows).scanned
    assert not table(tmp_path, *rows, labels={"x": 1}).scanned
    assert not table(tmp_path, *rows, regions={"x": [1]}).scanned


@pytest.mark.parametrize("case_id", ["a/b", "../a", "a\\b", "a\0b", ".a", "..", ""])
def test_ids_that_name_no_file_are_refused(tmp_path: Path, case_id: str) -> None:
    image = scan(tmp_path / "i.nii")
    with pytest.raises(Problems) as found:
        assemble(tmp_path, DataSettings(), [Case(case_id, "", {"t1": image})], ["t1"], None)
    (line,) = found.value.lines
    assert repr(case_id) in line
    assert line.isprintable()


def test_few_of_many_unsafe_ids_are_told(tmp_path: Path) -> None:
    cases = [Case(f".{n}", "", {"t1": tmp_path / "i.nii"}) for n in range(40)]
    with pytest.raises(Problems, match=r"\.\.\. and 35 more") as found:
        assemble(tmp_path, DataSettings(), cases, ["t1"], None)
    assert len(found.value.lines) == 6


def test_check_tells_an_unsafe_id_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan(tmp_path / "i.nii")
    (tmp_path / "cases.csv").write_text("id,t1\nx/../../evil,i.nii\n")
    assert main(["check", f"data.root={tmp_path}", f"report={tmp_path / 'page'}"]) != 0
    assert "'x/../../evil'" in capsys.readouterr().err
