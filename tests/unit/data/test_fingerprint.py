from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_cohort import axis_affine, on_disk

from medseg.data.fingerprint import Fingerprint, fingerprint
from medseg.errors import Problems, UserError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return on_disk(tmp_path_factory.mktemp("cohort"), cases=6)


def test_it_says_what_the_cohort_looks_like(cohort):
    fp = fingerprint(cohort, cohort.cases)
    assert fp.missing == {"T1": 0, "T2": 2}
    assert fp.centres == {"A": 3, "B": 3}
    assert fp.orientations == {"RAS": 6}
    assert {(case.shape, case.spacing) for case in fp.cases} == {((18, 16, 12), (1.0, 1.0, 2.0))}
    lesion = 3 * 2 * 3
    assert fp.class_sizes()[2] == {"cases": 6, "median_voxels": lesion, "median_mm3": 2 * lesion}
    organ = fp.foreground["T1"]
    inside = np.concatenate(
        [
            np.asarray(nib.load(case.images["T1"]).dataobj)[np.asarray(nib.load(case.label).dataobj) > 0]
            for case in cohort.cases
        ]
    )
    assert organ.count == inside.size
    np.testing.assert_allclose(
        [organ.p0_5, organ.median, organ.p99_5], np.percentile(inside, [0.5, 50, 99.5]), rtol=1e-4
    )


def test_workers_do_not_change_it(cohort):
    assert fingerprint(cohort, cohort.cases, workers=1) == fingerprint(cohort, cohort.cases, workers=3)


def test_it_comes_back_from_its_file_and_an_edited_one_is_refused(cohort, tmp_path: Path):
    fp = fingerprint(cohort, cohort.cases)
    path = tmp_path / "fingerprint.json"
    fp.save(path)
    assert Fingerprint.load(path) == fp
    content = json.loads(path.read_text())
    content["cases"][0]["spacing"][0] = 3.0
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="does not match its hash"):
        Fingerprint.load(path)
    for broken in ("", "[]", "{}", '{"hash": 1, "derived": 2}'):
        path.write_text(broken)
        with pytest.raises(UserError):
            Fingerprint.load(path)


def test_axes_are_canonical_and_zeros_are_cropped(cohort, tmp_path: Path):
    image = np.zeros((10, 20, 30), np.float32)
    image[2:8, 5:15, 9:29] = 5
    path = tmp_path / "turned.nii.gz"
    nib.save(nib.Nifti1Image(image, axis_affine((2, 0, 1), (True, False, True), (4, 1, 2))), path)
    case = replace(cohort.cases[0], images={"T1": path}, label=None)
    facts = fingerprint(cohort, [case]).cases[0]
    assert facts.orientation == "IRP"
    assert (facts.shape, facts.cropped) == ((20, 30, 10), (10, 20, 6))
    np.testing.assert_allclose(facts.spacing, (1, 2, 4))
    assert facts.voxels is None
    assert facts.images["T1"].zeros == 0


def test_an_outlier_does_not_move_the_percentiles(cohort, tmp_path: Path):
    case = cohort.cases[0]
    array = np.asarray(nib.load(case.images["T1"]).dataobj).copy()
    array[0, 0, 0] = 1.7e6
    path = tmp_path / "spoiled.nii.gz"
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    clean, dirty = (
        fingerprint(cohort, [replace(case, images={"T1": image}, label=None)]).cases[0].images["T1"]
        for image in (case.images["T1"], path)
    )
    np.testing.assert_allclose(clean.curve, dirty.curve, rtol=0.02)


def test_every_unusable_case_is_named(cohort, tmp_path: Path):
    bad = np.full((4, 4, 4), np.nan, np.float32)
    nib.save(nib.Nifti1Image(bad, np.eye(4)), tmp_path / "nan.nii.gz")
    cases = [
        replace(cohort.cases[0], id="nan", images={"T1": tmp_path / "nan.nii.gz"}, label=None),
        replace(cohort.cases[1], id="gone", images={"T1": tmp_path / "gone.nii.gz"}),
        replace(cohort.cases[2], id="none", images={}),
        cohort.cases[3],
    ]
    with pytest.raises(Problems) as found:
        fingerprint(cohort, cases)
    assert len(found.value.lines) == 3
    with pytest.raises(UserError, match="no training case"):
        fingerprint(cohort, [])


@pytest.mark.parametrize("what", ["label", "T2"])
@pytest.mark.parametrize(("shape", "shift"), [((18, 16, 11), 0), ((18, 16, 13), 0), ((18, 16, 12), 7)])
def test_files_of_other_grids_are_refused(cohort, tmp_path: Path, what, shape, shift):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = shift
    path = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), affine), path)
    case = cohort.cases[0]
    other = {"label": path} if what == "label" else {"images": {**case.images, "T2": path}}
    with pytest.raises(UserError, match=f"case0, {what}: (another shape|the voxels lie)"):
        fingerprint(cohort, [replace(case, **other)])
