"""Which files of a folder are a model's predictions: what is kept, removed, refused and predicted anew."""

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import Problems, UserError
from medseg.inference.bundle import Bundle
from medseg.inference.predict import predict_cases, predict_folder
from medseg.inference.receipt import RECEIPT, Receipt, seen_by, wanted
from medseg.inference.settings import InferenceSettings

from .toys import toy_cohort, voxels, write_scan

SETTINGS = InferenceSettings(device="cpu", precision="32")

OVERWRITE = InferenceSettings(device="cpu", precision="32", overwrite=True)


@pytest.mark.parametrize("settings", [SETTINGS, OVERWRITE])
def test_labels_that_nobody_predicted_are_refused_and_stay(make_bundle, tmp_path, settings):
    for n in range(2):
        write_scan(tmp_path / "imagesTr" / f"case{n}_0000.nii.gz", n)
        write_scan(tmp_path / "labelsTr" / f"case{n}.nii.gz", 7 + n)
    before = {path: path.read_bytes() for path in (tmp_path / "labelsTr").iterdir()}
    with pytest.raises(UserError, match=r"output=.*case0.nii.gz and 1 more .*not predictions") as caught:
        predict_folder([make_bundle()], tmp_path / "imagesTr", tmp_path / "labelsTr", settings)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in (tmp_path / "labelsTr").iterdir()} == before


def test_a_manual_label_beside_predictions_is_never_overwritten(make_bundle, scans, tmp_path):
    model, out = make_bundle(), tmp_path / "out"
    predict_folder([model], scans, out, SETTINGS)
    write_scan(scans / "extra.nii.gz", 9)
    (out / "extra.nii.gz").write_bytes(b"by hand")
    with pytest.raises(UserError, match=r"extra.nii.gz .*not predictions"):
        predict_folder([model], scans, out, OVERWRITE)
    assert (out / "extra.nii.gz").read_bytes() == b"by hand"


def test_a_label_that_appears_while_others_are_predicted_is_kept(make_bundle, scans, tmp_path):
    bundle, target = Bundle.load(make_bundle()), tmp_path / "out" / "case0.nii.gz"
    receipt = Receipt.claim(tmp_path / "out", wanted([bundle], SETTINGS), [target], False)
    target.write_bytes(b"by hand")
    with pytest.raises(UserError, match="not predictions"):
        receipt.enter(target, "0" * 64)
    assert target.read_bytes() == b"by hand"


def test_masks_of_an_old_model_never_come_back_as_the_new_ones(make_bundle, scans, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    write_scan(other / "case9.nii.gz", 9)
    first, second = make_bundle("a", seed=1), make_bundle("b", seed=2)
    predict_folder([first], scans, out, SETTINGS)
    (out / "notes.txt").write_text("mine")
    predict_folder([second], other, out, OVERWRITE)
    assert sorted(p.name for p in out.iterdir()) == ["case9.nii.gz", "notes.txt", RECEIPT]
    again = predict_folder([second], scans, out, SETTINGS)
    clean = predict_folder([second], scans, tmp_path / "clean", SETTINGS)
    for case, path in clean.items():
        np.testing.assert_array_equal(voxels(again[case]), voxels(path))


@pytest.mark.parametrize("of_cohort", [False, True])
def test_a_corrected_scan_is_predicted_anew_and_only_it(make_bundle, scans, tmp_path, of_cohort):
    model = make_bundle()

    def predict(out: Path) -> dict[str, Path]:
        if not of_cohort:
            return predict_folder([model], scans, out, SETTINGS)
        cohort = toy_cohort(scans)
        return predict_cases(cohort, cohort.cases, [Bundle.load(model)], out, SETTINGS)

    predict(tmp_path / "out")
    (tmp_path / "out" / "case0.nii.gz").write_bytes(b"marked")
    write_scan(scans / "case1.nii.gz", 77)
    predict(tmp_path / "out")
    clean = predict(tmp_path / "clean")
    np.testing.assert_array_equal(voxels(tmp_path / "out" / "case1.nii.gz"), voxels(clean["case1"]))
    assert (tmp_path / "out" / "case0.nii.gz").read_bytes() == b"marked"


def test_a_scan_that_became_unreadable_leaves_no_mask_of_the_old_one(make_bundle, scans, tmp_path):
    model = make_bundle()
    predict_folder([model], scans, tmp_path / "out", SETTINGS)
    (scans / "case1.nii.gz").write_bytes(b"broken")
    with pytest.raises(Problems) as caught:
        predict_folder([model], scans, tmp_path / "out", SETTINGS)
    assert len(caught.value.lines) == 1
    assert "case1" in caught.value.lines[0]
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"case0.nii.gz", "case2.nii.gz", RECEIPT}


def test_a_kill_between_the_receipt_and_the_file_costs_nothing(make_bundle, scans, tmp_path):
    bundle, out = Bundle.load(make_bundle()), tmp_path / "out"
    written = predict_folder([bundle.folder], scans, out, SETTINGS)
    expected = voxels(written["case2"])
    written["case2"].unlink()  # listed, but not there: as after a kill
    predict_folder([bundle.folder], scans, out, SETTINGS)
    np.testing.assert_array_equal(voxels(out / "case2.nii.gz"), expected)


@pytest.mark.parametrize(
    "files", [{"../scan.nii.gz": "0" * 64}, {"a/b.nii": "0" * 64}, {"..": "0" * 64}, {"a.nii": 3}, [], None]
)
def test_a_receipt_cannot_name_files_elsewhere(make_bundle, scans, tmp_path, files):
    out, outside = tmp_path / "out", tmp_path / "scan.nii.gz"
    predict_folder([make_bundle("a", seed=1)], scans, out, SETTINGS)
    outside.write_bytes(b"mine")
    content = json.loads((out / RECEIPT).read_text())
    (out / RECEIPT).write_text(json.dumps(content | {"files": files}))
    with pytest.raises(UserError, match=r"prediction.json: is not a receipt"):
        predict_folder([make_bundle("b", seed=2)], scans, out, OVERWRITE)
    assert outside.read_bytes() == b"mine"


def test_the_receipt_knows_whom_any_of_the_models_saw(make_bundle, scans, tmp_path):
    models = [make_bundle("a", patients=["x"]), make_bundle("b", seed=1, patients=["y"])]
    assert seen_by(tmp_path) is None
    predict_folder(models, scans, tmp_path / "out", SETTINGS)
    seen = seen_by(tmp_path / "out")
    assert seen is not None
    assert [seen(patient) for patient in "xyz"] == [True, True, False]


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 9999, '{"models": [{"patients": {"salt": 1}}]}'])
def test_a_damaged_receipt_is_one_line(tmp_path, text):
    (tmp_path / RECEIPT).write_text(text)
    with pytest.raises(UserError, match=r"prediction.json: ") as caught:
        seen_by(tmp_path)
    assert "\n" not in str(caught.value)
