"""Several bundles as one model: verified, whole, and the same prediction as the list of them."""

import json

import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.errors import Problems, UserError
from medseg.inference.bundle import Bundle
from medseg.inference.ensemble_bundle import load_bundles, load_model, save_ensemble
from medseg.inference.finish import Finish
from medseg.inference.finish_fields import store_finish
from medseg.inference.manifest import seal
from medseg.inference.predict import predict_folder
from medseg.inference.settings import InferenceSettings

from .toys import flat_plan, tiny_plan, voxels

SETTINGS = InferenceSettings(device="cpu", precision="32")
OTHER = {"names": ["x"], "values": [[1]], "overlapping": False, "ignore": None}
LARGEST = {"_target_": "medseg.postprocess.largest_component.LargestComponent"}


@pytest.fixture
def members(make_bundle):
    plans = (tiny_plan(), tiny_plan(spacing=(1.3, 1.0, 1.0)))
    return [make_bundle(f"m{n}", plan, seed=n, patients=[f"p{n}"]) for n, plan in enumerate(plans)]


def rewrite(folder, **changes):
    manifest = json.loads((folder / "model.json").read_text()) | changes
    manifest = {k: v for k, v in manifest.items() if k not in ("hash", "format", "version")}
    (folder / "model.json").write_text(json.dumps(seal(manifest)))


def test_it_predicts_as_the_list_of_its_members(members, scans, tmp_path):
    folder = save_ensemble(members, tmp_path / "all")
    assert sorted(path.name for path in folder.iterdir()) == ["member_0", "member_1", "model.json"]
    one = predict_folder([folder], scans, tmp_path / "one", SETTINGS)
    several = predict_folder(members, scans, tmp_path / "several", SETTINGS)
    for case, path in one.items():
        np.testing.assert_array_equal(voxels(path), voxels(several[case]))
    assert [b.hash for b in load_bundles([folder])] == [Bundle.load(m).hash for m in members]
    assert len(load_bundles([folder, members[0]])) == 3


def test_it_was_trained_on_whom_any_member_was_and_has_a_finish_of_its_own(members, tmp_path):
    folder = save_ensemble(members, tmp_path / "all", postprocess=[LARGEST], temperature=2.0, tuned_on=["p5"])
    model = load_model([folder])
    assert model.finish == Finish((LARGEST,), 2.0)
    assert [model.saw(patient) for patient in ("p0", "p1", "p5", "p6")] == [True, True, True, False]
    store_finish(folder, Finish(temperature=3.0), ["p6"])
    assert load_model([folder]).finish == Finish(temperature=3.0)
    assert load_model([folder]).saw("p6")
    assert not load_model([folder]).saw("p5")


def test_an_ensemble_of_ensembles_is_flat_and_replaces_as_a_whole(members, tmp_path):
    inner = save_ensemble(members, tmp_path / "inner")
    outer = save_ensemble([inner, members[0]], tmp_path / "outer")
    assert len(load_model([outer]).bundles) == 3
    save_ensemble(members[:1], outer)
    assert sorted(path.name for path in outer.iterdir()) == ["member_0", "model.json"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_members_of_other_tasks_are_one_line(make_bundle, members, tmp_path):
    other = make_bundle("other", labels=Labels(("organ", "lesion"), ((2,), (1,))))
    modal = make_bundle("modal", tiny_plan(modalities=("T1",)))
    for stranger in (other, modal):
        with pytest.raises(UserError, match="other labels or modalities") as caught:
            save_ensemble([*members, stranger], tmp_path / "all")
        assert len(str(caught.value).splitlines()) == 1
    tuned = make_bundle("tuned", postprocess=[LARGEST])
    with pytest.raises(UserError, match="another post-processing or temperature"):
        save_ensemble([*members, tuned], tmp_path / "all")
    assert not (tmp_path / "all").exists()
    assert len(load_model([save_ensemble([*members, tuned], tmp_path / "all", postprocess=[])]).bundles) == 3
    assert load_bundles(
        [save_ensemble([make_bundle("flat", flat_plan()), tuned], tmp_path / "f", postprocess=[])]
    )


@pytest.mark.parametrize("damage", ["weights", "member", "swap", "lost", "manifest"])
def test_damage_is_refused(members, tmp_path, damage):
    folder = save_ensemble(members, tmp_path / "all")
    if damage == "weights":
        path = folder / "member_1" / "weights.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif damage == "member":
        store_finish(folder / "member_0", Finish((LARGEST,)), None)
    elif damage == "swap":
        (folder / "member_0").rename(folder / "x")
        (folder / "member_1").rename(folder / "member_0")
        (folder / "x").rename(folder / "member_1")
    elif damage == "lost":
        (folder / "member_1" / "model.json").unlink()
    else:
        path = folder / "model.json"
        path.write_text(path.read_text().replace("member_1", "member_0"))
    with pytest.raises(UserError) as caught:
        load_model([folder])
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"members": []}, "members is not"),
        ({"members": [{"folder": "../secret", "hash": "0" * 64}]}, "members is not"),
        (
            {"members": [{"folder": "member_0", "hash": "0" * 64}]},
            "is not the member that the ensemble",
        ),
        ({"labels": OTHER}, "labels are not those"),
        ({"postprocess": [{"_target_": "os.system"}]}, "allowed targets"),
        ({"extra": 1}, "extra is unknown"),
    ],
)
def test_its_manifest_is_read_with_suspicion(members, tmp_path, changes, line):
    folder = save_ensemble(members, tmp_path / "all")
    rewrite(folder, **changes)
    with pytest.raises((UserError, Problems), match=line):
        load_model([folder])


def test_one_model_is_wanted_elsewhere(members, tmp_path):
    with pytest.raises(UserError, match="name one of its members"):
        Bundle.load(save_ensemble(members, tmp_path / "all"))
    with pytest.raises(UserError, match="none is given"):
        load_model([])
