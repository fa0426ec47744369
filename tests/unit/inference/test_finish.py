"""Post-processing and temperature: stored in bundles, read back, applied, refused."""

import json

import numpy as np
import pytest
import torch

from medseg.contracts import Labels
from medseg.errors import Problems, UserError
from medseg.files import file_hash
from medseg.inference.bundle import Bundle
from medseg.inference.finish import Finish, common_finish, tempered
from medseg.inference.finish_fields import store_finish
from medseg.inference.manifest import seal
from medseg.inference.predict import predict_cases, predict_folder
from medseg.inference.receipt import seen_by
from medseg.inference.settings import InferenceSettings

from .toys import toy_cohort, voxels

SETTINGS = InferenceSettings(device="cpu", precision="32")
LARGEST = {"_target_": "medseg.postprocess.largest_component.LargestComponent"}
THRESHOLD = {"_target_": "medseg.postprocess.threshold.Threshold", "threshold": 0.3}
NONE = {"_target_": "medseg.postprocess.chain.Chain", "steps": []}


def test_temperature_makes_unsure_and_changes_no_winner():
    scores = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)).softmax(0)
    soft = tempered(scores, 2.0, overlapping=False)
    expected = (scores.log() / 2).softmax(0)
    torch.testing.assert_close(soft, expected)
    assert torch.equal(soft.argmax(0), scores.argmax(0))
    assert (soft.max(0).values < scores.max(0).values).all()
    regions = tempered(scores, 2.0, overlapping=True)
    torch.testing.assert_close(regions, (scores.logit() / 2).sigmoid())
    assert tempered(scores, 1.0, overlapping=True) is scores
    certain = tempered(torch.tensor([[1.0], [0.0]]), 3.0, overlapping=False)
    assert torch.isfinite(certain).all()
    assert certain[0] > 0.99


def test_a_bundle_keeps_its_finish_and_its_weights(make_bundle):
    folder = make_bundle(postprocess=[LARGEST])
    assert Bundle.load(folder).finish == Finish((LARGEST,))
    weights, before = file_hash(folder / "weights.safetensors"), Bundle.load(folder)
    store_finish(folder, Finish((THRESHOLD, LARGEST), 1.5), ["p7", "p8"])
    after = Bundle.load(folder)
    assert file_hash(folder / "weights.safetensors") == weights == after.weights_hash
    assert after.hash != before.hash
    assert after.finish == Finish((THRESHOLD, LARGEST), 1.5)
    assert after.saw("p7")
    assert after.saw("p1")
    assert not after.saw("p9")
    assert "p7" not in (folder / "model.json").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]
    store_finish(folder, Finish(), None)
    assert Bundle.load(folder).finish == Finish()
    assert not Bundle.load(folder).saw("p7")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"postprocess": [{"_target_": "os.system"}]}, "not on the list of allowed targets"),
        (
            {"postprocess": [{"_target_": "medseg.networks.unet.UNet"}]},
            "is not a class of medseg",
        ),
        ({"postprocess": [LARGEST | {"names": ["liver"]}]}, "there is no 'liver'"),
        ({"postprocess": [LARGEST | {"size": 3}]}, "has no option 'size'"),
        ({"postprocess": {"_target_": "x"}}, "postprocess is not a list"),
        ({"postprocess": [LARGEST] * 65}, "postprocess is not a list"),
        ({"temperature": 0}, "temperature is not a number"),
        ({"temperature": "2"}, "temperature is not a number"),
        ({"tuned_on": {"salt": 3}}, "patients are not a salt"),
        ({"tuned_on": ["p1"]}, "tuned_on is not a mapping"),
    ],
)
def test_a_finish_is_read_with_suspicion(make_bundle, changes, line):
    folder = make_bundle()
    manifest = json.loads((folder / "model.json").read_text()) | changes
    manifest = {k: v for k, v in manifest.items() if k not in ("hash", "format", "version")}
    (folder / "model.json").write_text(json.dumps(seal(manifest)))
    with pytest.raises(UserError, match=line) as caught:
        Bundle.load(folder)
    assert all(str(folder) in told for told in str(caught.value).splitlines())


def test_steps_that_do_not_fit_are_not_stored(make_bundle):
    folder = make_bundle()
    before = (folder / "model.json").read_text()
    with pytest.raises(UserError, match="there is no 'liver'"):
        store_finish(folder, Finish((LARGEST | {"names": ["liver"]},)), None)
    with pytest.raises(Problems, match=r"os\.system"):
        store_finish(folder, Finish(({"_target_": "os.system"},)), None)
    assert (folder / "model.json").read_text() == before


def test_a_prediction_is_finished_as_the_bundle_says(make_bundle, scans, tmp_path):
    plain = predict_folder([make_bundle("a")], scans, tmp_path / "plain", SETTINGS)
    finished = predict_folder([make_bundle("b", postprocess=[LARGEST])], scans, tmp_path / "fb", SETTINGS)
    from scipy.ndimage import label

    changed = False
    for case, path in finished.items():
        for value in (1, 2):
            assert label(voxels(path) == value, np.ones((3, 3, 3)))[1] <= 1
        changed |= not np.array_equal(voxels(path), voxels(plain[case]))
    assert changed
    none = predict_folder(
        [make_bundle("c", postprocess=[LARGEST])], scans, tmp_path / "fc", SETTINGS, postprocess=[NONE]
    )
    named = predict_folder([make_bundle("d")], scans, tmp_path / "fd", SETTINGS, postprocess=[LARGEST])
    for case in plain:
        np.testing.assert_array_equal(voxels(none[case]), voxels(plain[case]))
        np.testing.assert_array_equal(voxels(named[case]), voxels(finished[case]))


def test_predictions_that_were_finished_otherwise_do_not_mix(make_bundle, scans, tmp_path):
    model = make_bundle()
    predict_folder([model], scans, tmp_path / "out", SETTINGS)
    with pytest.raises(UserError, match="other settings"):
        predict_folder([model], scans, tmp_path / "out", SETTINGS, postprocess=[LARGEST])


def test_whoever_was_tuned_on_is_told_by_the_folder_of_predictions(make_bundle, scans, tmp_path):
    folder = make_bundle()
    store_finish(folder, Finish((THRESHOLD,), 1.5), ["p7"])
    predict_folder([folder], scans, tmp_path / "out", SETTINGS)
    seen = seen_by(tmp_path / "out")
    assert seen("p7")
    assert seen("p1")
    assert not seen("p9")
    predict_folder([folder], scans, tmp_path / "none", SETTINGS, postprocess=[NONE])
    assert not seen_by(tmp_path / "none")("p7"), "the labels of p7 had no say in these"
    predict_folder([folder], scans, tmp_path / "size", SETTINGS, postprocess=[LARGEST])
    assert not seen_by(tmp_path / "size")("p7"), "a temperature changes no label"
    predict_folder([folder], scans, tmp_path / "threshold", SETTINGS, postprocess=[THRESHOLD])
    assert seen_by(tmp_path / "threshold")("p7")


def test_models_that_were_tuned_differently_have_no_common_finish(make_bundle, scans, tmp_path):
    one, other = make_bundle("one", seed=1, postprocess=[LARGEST]), make_bundle("two", seed=2)
    with pytest.raises(UserError, match=r"postprocess=none, or make one model"):
        predict_folder([one, other], scans, tmp_path / "out", SETTINGS)
    assert common_finish([Finish((LARGEST,))] * 2, "ab") == Finish((LARGEST,))
    cohort = toy_cohort(scans)
    bundles = [Bundle.load(one), Bundle.load(other)]
    found = predict_cases(cohort, cohort.cases, bundles, tmp_path / "out", SETTINGS, finish=Finish())
    assert len(found) == 3


def test_regions_are_finished_too(make_bundle, scans, tmp_path):
    labels = Labels(("whole", "core"), ((1, 2), (2,)), overlapping=True)
    model = make_bundle("regions", labels=labels, postprocess=[THRESHOLD, LARGEST])
    written = predict_folder([model], scans, tmp_path / "out", SETTINGS)
    assert all(set(np.unique(voxels(path))) <= {0, 1, 2} for path in written.values())
