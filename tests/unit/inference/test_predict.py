import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.data.cohort import Case
from medseg.errors import Problems, UserError
from medseg.inference.bundle import Bundle
from medseg.inference.ensemble import predict_prepared, prepare
from medseg.inference.predict import _read_ahead, predict_cases, predict_folder
from medseg.inference.predictor import make_predictors
from medseg.inference.receipt import RECEIPT
from medseg.inference.settings import InferenceSettings

from .toys import tiny_plan, toy_cohort, voxels, write_scan

SETTINGS = InferenceSettings(device="cpu", precision="32")


def test_every_case_gets_a_file_and_nothing_else_is_left(make_bundle, scans, tmp_path):
    model = make_bundle()
    written = predict_folder([model], scans, tmp_path / "out", SETTINGS)
    assert sorted(written) == ["case0", "case1", "case2"]
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["case0.nii.gz", "case1.nii.gz", "case2.nii.gz", RECEIPT]
    (entry,) = json.loads((tmp_path / "out" / RECEIPT).read_text())["models"]
    assert entry["hash"] == Bundle.load(model).hash
    assert any(len(np.unique(voxels(path))) > 1 for path in written.values())


def test_the_same_bits_twice(make_bundle, scans, tmp_path):
    model = make_bundle(flip_axes=(0, 2))
    once = predict_folder([model], scans, tmp_path / "a", SETTINGS)
    again = predict_folder([model], scans, tmp_path / "b", SETTINGS)
    for case, path in once.items():
        np.testing.assert_array_equal(voxels(path), voxels(again[case]))


def test_several_models_are_averaged(make_bundle, scans, tmp_path):
    models = [make_bundle("a", seed=1), make_bundle("b", tiny_plan(spacing=(1.3, 1.0, 1.0)), seed=2)]
    written = predict_folder(models, scans, tmp_path / "out", SETTINGS)
    predictors = make_predictors([Bundle.load(model) for model in models], SETTINGS)
    from medseg.data.formats import read_volume

    prepared = prepare(predictors, {"MRI": read_volume(scans / "case1.nii.gz")})
    np.testing.assert_array_equal(voxels(written["case1"]), predict_prepared(predictors, prepared))


def test_a_prediction_that_is_there_is_kept_unless_overwritten(make_bundle, scans, tmp_path):
    model, out = make_bundle(), tmp_path / "out"
    path = predict_folder([model], scans, out, SETTINGS)["case1"]
    truth = voxels(path)
    path.write_bytes(b"marked")
    predict_folder([model], scans, out, SETTINGS)
    assert path.read_bytes() == b"marked"
    predict_folder([model], scans, out, InferenceSettings(device="cpu", precision="32", overwrite=True))
    np.testing.assert_array_equal(voxels(path), truth)


def test_predictions_of_two_models_do_not_mix(make_bundle, scans, tmp_path):
    out = tmp_path / "out"
    predict_folder([make_bundle("a", seed=1)], scans, out, SETTINGS)
    before = voxels(out / "case0.nii.gz")
    other = make_bundle("b", seed=2)
    with pytest.raises(UserError, match="holds predictions of another model"):
        predict_folder([other], scans, out, SETTINGS)
    np.testing.assert_array_equal(voxels(out / "case0.nii.gz"), before)
    with pytest.raises(UserError, match="or other settings"):
        predict_folder([make_bundle("a2", seed=1)], scans, out, InferenceSettings(overlap=0.1))
    forced = InferenceSettings(device="cpu", precision="32", overwrite=True)
    predict_folder([other], scans, out, forced)
    clean = predict_folder([other], scans, tmp_path / "clean", SETTINGS)
    for case, path in clean.items():
        np.testing.assert_array_equal(voxels(out / f"{case}.nii.gz"), voxels(path))


def test_a_bad_case_costs_one_line_and_the_others_go_on(make_bundle, scans, tmp_path):
    (scans / "broken.nii.gz").write_bytes((scans / "case0.nii.gz").read_bytes()[:200])
    nan = np.full((9, 9, 9), np.nan, np.float32)
    nib.save(nib.Nifti1Image(nan, np.eye(4)), scans / "nan.nii.gz")
    write_scan(scans / "singular.nii")
    with (scans / "singular.nii").open("r+b") as file:
        file.seek(280)  # the first row of the sform
        file.write(bytes(16))
    with pytest.raises(Problems) as caught:
        predict_folder([make_bundle()], scans, tmp_path / "out", SETTINGS)
    lines = caught.value.lines
    assert len(lines) == 3
    for name in ("broken", "nan", "singular"):
        assert sum(name in line for line in lines) == 1
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"case0.nii.gz", "case1.nii.gz", "case2.nii.gz", RECEIPT}


def test_missing_modalities_need_a_model_that_knows_them(make_bundle, tmp_path):
    for name in ("a_0000", "a_0001", "b_0001"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", 1)
    plan = tiny_plan(modalities=("T1", "T2"))
    strict = make_bundle("strict", plan)
    with pytest.raises(Problems) as caught:
        predict_folder([strict], tmp_path / "in", tmp_path / "out", SETTINGS)
    assert caught.value.lines == ("b: has no T1; this model needs it",)
    assert (tmp_path / "out" / "a.nii.gz").exists()
    assert not (tmp_path / "out" / "b.nii.gz").exists()
    tolerant = make_bundle("tolerant", plan, missing_modalities=True)
    assert sorted(predict_folder([tolerant], tmp_path / "in", tmp_path / "out2", SETTINGS)) == ["a", "b"]


def test_an_output_that_is_no_folder(make_bundle, scans, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=r"output=.*out: cannot be written"):
        predict_folder([make_bundle()], scans, tmp_path / "out", SETTINGS)


def test_a_full_disk_costs_the_case_and_leaves_no_half_file(make_bundle, tmp_path):
    resource = pytest.importorskip("resource")
    write_scan(tmp_path / "in" / "large.nii.gz", shape=(24, 24, 24))
    write_scan(tmp_path / "in" / "small.nii.gz", shape=(2, 2, 2))
    model = make_bundle()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, before[1]))
    try:
        with pytest.raises(Problems) as caught:
            predict_folder([model], tmp_path / "in", tmp_path / "out", SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (line,) = caught.value.lines
    assert "large.nii.gz: cannot be written" in line
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [RECEIPT, "small.nii.gz"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_scans_are_never_taken_for_predictions(make_bundle, scans, overwrite):
    before = {path: path.read_bytes() for path in scans.iterdir()}
    with pytest.raises(UserError, match=r"output=.*case0.nii.gz there is a scan"):
        predict_folder([make_bundle()], scans, scans, InferenceSettings(overwrite=overwrite))
    assert {path: path.read_bytes() for path in scans.iterdir()} == before


def write_dicom(folder: Path, shape=(10, 9, 6)) -> None:
    import SimpleITK as sitk

    folder.mkdir(parents=True)
    array = np.random.Generator(np.random.Philox(0)).integers(0, 500, size=shape).astype(np.int16)
    for k in range(shape[2]):
        image = sitk.GetImageFromArray(array[:, :, k].T)
        image.SetSpacing((0.8, 1.1))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0060": "MR",
            "0020|000d": "1.2.3.1",
            "0020|000e": "1.2.3.1.1",
            "0020|0032": f"-10\\20\\{5.5 + 2.5 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(k + 1),
            "0018|0050": "2.5",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{k}.dcm"))
        writer.Execute(image)


def test_a_dicom_series_becomes_nifti_on_its_grid(make_bundle, tmp_path):
    write_dicom(tmp_path / "in" / "series7")
    written = predict_folder([make_bundle()], tmp_path / "in", tmp_path / "out", SETTINGS)
    assert written == {"series7": tmp_path / "out" / "series7.nii.gz"}
    found = nib.load(written["series7"])
    assert found.shape == (10, 9, 6)
    np.testing.assert_allclose(found.affine[:3, 3], (10, -20, 5.5), atol=1e-5)
    np.testing.assert_allclose(np.diag(found.affine), (-0.8, -1.1, 2.5, 1), atol=1e-5)


def test_cases_of_a_cohort_are_predicted_without_their_labels(make_bundle, scans, tmp_path):
    bundle = Bundle.load(make_bundle())
    cohort = toy_cohort(scans)
    found = predict_cases(cohort, cohort.cases[1:], [bundle], tmp_path / "a", SETTINGS)
    expected = predict_folder([bundle.folder], scans, tmp_path / "b", SETTINGS)
    assert sorted(found) == ["case1", "case2"]
    for case, path in found.items():
        np.testing.assert_array_equal(voxels(path), voxels(expected[case]))


def test_predictions_of_an_older_model_of_a_run_are_replaced(make_bundle, scans, tmp_path):
    cohort = toy_cohort(scans)
    old, new = (Bundle.load(make_bundle(name, seed=n)) for n, name in enumerate("ab"))
    predict_cases(cohort, cohort.cases, [old], tmp_path / "out", SETTINGS)
    found = predict_cases(cohort, cohort.cases, [new], tmp_path / "out", SETTINGS)
    expected = predict_cases(cohort, cohort.cases, [new], tmp_path / "clean", SETTINGS)
    for case, path in found.items():
        np.testing.assert_array_equal(voxels(path), voxels(expected[case]))


def test_a_cohort_with_other_labels_is_refused(make_bundle, scans, tmp_path):
    cohort = toy_cohort(scans, Labels(("organ", "lesion"), ((2,), (1,))))
    with pytest.raises(UserError, match="predicts organ, lesion, but toy has"):
        predict_cases(cohort, cohort.cases, [Bundle.load(make_bundle())], tmp_path / "out", SETTINGS)


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_reading_ahead_keeps_order_and_delivers_errors_to_their_case(ahead):
    cases = [Case(str(n), str(n), {}) for n in range(5)]

    def read(case):
        if case.id == "2":
            raise UserError("2", "is broken")
        return case.id

    outcomes = []
    for case, get in _read_ahead(read, cases, ahead):
        try:
            outcomes.append((case.id, get()))
        except UserError as error:
            outcomes.append((case.id, error.problem))
    assert outcomes == [("0", "0"), ("1", "1"), ("2", "is broken"), ("3", "3"), ("4", "4")]


def test_a_corrupt_first_scan_of_several_modalities_costs_one_line(make_bundle, tmp_path):
    for name in ("b_0000", "b_0001"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", 1)
    for name in ("a_0000", "a_0001"):
        (tmp_path / "in" / f"{name}.nii.gz").write_bytes(b"broken")
    model = make_bundle("two", tiny_plan(modalities=("T1", "T2")))
    with pytest.raises(Problems) as caught:
        predict_folder([model], tmp_path / "in", tmp_path / "out", SETTINGS)
    assert len(caught.value.lines) == 1
    assert (tmp_path / "out" / "b.nii.gz").exists()
