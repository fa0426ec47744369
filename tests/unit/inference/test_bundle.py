import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.files import file_hash
from medseg.inference.assemble import assemble_network
from medseg.inference.bundle import Bundle, save_bundle
from medseg.inference.manifest import MAX_BYTES, seal

from .toys import EARLY, TWO_CLASSES, UNET, flat_plan, make_network, tiny_plan


def rewrite(folder: Path, sealed: bool = True, **changes):
    """An edited model.json, with a fitting hash as an attacker would give it."""
    path = folder / "model.json"
    manifest = json.loads(path.read_text()) | changes
    if sealed:
        manifest = seal({k: v for k, v in manifest.items() if k not in ("hash", "format", "version")})
    path.write_text(json.dumps(manifest))


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Bundle.load(folder)
    lines = str(caught.value).splitlines()
    assert all(str(folder) in line for line in lines)
    return str(caught.value)


@pytest.mark.parametrize("plan", [tiny_plan(), flat_plan(modalities=("T1", "T2"))])
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_a_bundle_gives_the_network_back(tmp_path, plan, deep_supervision):
    network = make_network(plan, TWO_CLASSES, seed=4, deep_supervision=deep_supervision)
    folder = save_bundle(
        tmp_path / "model",
        network,
        UNET,
        EARLY,
        plan,
        TWO_CLASSES,
        "toy",
        {"fold": 2, "split": "abc", "seed": 4},
        patients=["p1", "p2"],
        flip_axes=(1, 0),
    )
    before = torch.random.get_rng_state()
    bundle = Bundle.load(folder)
    again = bundle.network()
    assert torch.equal(before, torch.random.get_rng_state())

    assert bundle.plan == plan
    assert bundle.labels == TWO_CLASSES
    assert bundle.flip_axes == (0, 1)
    assert bundle.cohort == "toy"
    assert bundle.provenance["split"] == "abc"
    assert {"medseg", "date", "fold", "seed"} <= set(bundle.provenance)
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    image = torch.randn(
        (1, len(plan.modalities), *plan.patch_size), generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        assert torch.equal(again(image)[0], network.eval()(image)[0])


def test_patients_are_recognised_and_not_told(make_bundle):
    folder = make_bundle(patients=["patient-007", "Ünal"])
    bundle = Bundle.load(folder)
    assert bundle.saw("patient-007")
    assert bundle.saw("Ünal")
    assert not bundle.saw("patient-008")
    text = (folder / "model.json").read_text()
    assert "patient-007" not in text
    assert "nal" not in text.split('"patients"')[1].split("weights")[0]
    other = Bundle.load(make_bundle("other", patients=["patient-007"]))
    assert not other.patients.hashes & bundle.patients.hashes


def test_saving_replaces_the_whole_folder_and_leaves_nothing_beside(make_bundle):
    folder = make_bundle(seed=1)
    (folder / "stale.txt").write_text("from before")
    first = Bundle.load(folder).weights_hash
    make_bundle(seed=2)
    assert Bundle.load(folder).weights_hash != first
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_network_that_its_specs_do_not_describe_is_not_saved(tmp_path):
    network = make_network(tiny_plan(), TWO_CLASSES)
    wide = tiny_plan(widths=(4, 8))
    with pytest.raises(UserError, match="does not fit the network"):
        save_bundle(tmp_path / "model", network, UNET, EARLY, wide, TWO_CLASSES, "toy", {}, patients=[])
    assert list(tmp_path.iterdir()) == []


def test_altered_weights_are_refused(make_bundle):
    folder = make_bundle()
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "was altered" in refused(folder)
    weights.write_bytes(content[:-10])
    assert "was altered" in refused(folder)
    weights.unlink()
    assert "does not exist" in refused(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop(next(iter(state))),
        lambda state: state.update(extra=torch.zeros(3)),
        lambda state: state.update({next(iter(state)): torch.zeros(1)}),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_weights_must_fit_name_by_name(make_bundle, damage):
    folder = make_bundle()
    weights = folder / "weights.safetensors"
    state = load_file(weights)
    name = next(iter(state))
    damage(state)
    save_file(state, weights)
    rewrite(folder, weights={"file": "weights.safetensors", "sha256": file_hash(weights)})
    problem = refused(folder)
    assert ("extra" if "extra" in state else name) in problem


def test_files_that_are_no_safetensors_are_refused(make_bundle):
    folder = make_bundle()
    weights = folder / "weights.safetensors"
    huge_header = struct.pack("<Q", 1 << 60) + b"{}"
    absurd = json.dumps({"a": {"dtype": "F32", "shape": [1 << 62], "data_offsets": [0, 4]}}).encode()
    for content in (b"", b"not weights", huge_header, struct.pack("<Q", len(absurd)) + absurd + b"1234"):
        weights.write_bytes(content)
        rewrite(folder, weights={"file": "weights.safetensors", "sha256": file_hash(weights)})
        assert "not a readable safetensors file" in refused(folder)


def test_an_edited_manifest_is_noticed(make_bundle):
    folder = make_bundle()
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text.replace('"fold": 0', '"fold": 1'))
    assert "was altered" in refused(folder)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "cannot be read as JSON"),
        ("[1, 2]", "holds no mapping"),
        ("{" * 100_000, "cannot be read as JSON"),
        ('{"a":' * 100_000, "cannot be read as JSON"),
        ('{"format": "medseg-model", "version": NaN}', "NaN is not JSON"),
        ('{"format": "other"}', "is not the model.json"),
        ('{"format": "medseg-model", "version": 99}', "format version 99"),
        ("9" * 10_000, "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_one_line(make_bundle, content, problem):
    folder = make_bundle()
    path = folder / "model.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused(folder)
    assert problem in line
    assert len(line.splitlines()) == 1


def test_a_manifest_that_is_too_large_is_not_read(make_bundle):
    folder = make_bundle()
    with (folder / "model.json").open("r+b") as file:
        file.truncate(MAX_BYTES + 1)
    assert "is larger than" in refused(folder)


def test_no_bundle_at_all(tmp_path):
    assert "does not exist" in refused(tmp_path / "nothing")


def test_every_field_of_a_wrong_kind_is_listed(make_bundle):
    folder = make_bundle()
    rewrite(folder, network="UNet", fusion=3, modalities=[], flip_axes=[7], postprocess=["rm"], surplus=1)
    problem = refused(folder)
    for field in ("network", "fusion", "modalities", "flip_axes", "postprocess", "surplus"):
        assert f": {field} is" in problem


@pytest.mark.parametrize(
    "name", ["../other/weights.safetensors", "/etc/passwd", "w.safetensors", None, 3, ["x"]]
)
def test_weights_elsewhere_are_refused(make_bundle, name):
    folder = make_bundle()
    rewrite(folder, weights={"file": name, "sha256": "0" * 64})
    assert "names the weights" in refused(folder)


HOSTILE = [
    "os.system",
    "subprocess.Popen",
    "pathlib.Path.write_text",
    "builtins.eval",
    "shutil.rmtree",
    "medseg.files.write_text",
    "medseg.networks.unet.nn.Module",
    "medseg.networks.unet.UNet.__init__",
    "medseg.networks.no_such_thing.UNet",
    "torch.hub.load",
    "",
    None,
    17,
    ["os", "system"],
]


@pytest.mark.parametrize("target", HOSTILE)
@pytest.mark.parametrize("slot", ["network", "fusion"])
def test_targets_that_are_not_allowed_are_refused(make_bundle, tmp_path, target, slot):
    folder = make_bundle()
    proof = tmp_path / "proof"
    rewrite(folder, **{slot: {"_target_": target, "command": f"touch {proof}", "data": str(proof)}})
    assert slot in refused(folder)
    assert not proof.exists()


def test_options_of_a_wrong_kind_are_refused(make_bundle):
    folder = make_bundle()
    rewrite(folder, network={**UNET, "norm": "instance; rm -rf", "convs_per_level": "many", "unknown": 1})
    problem = refused(folder)
    assert "norm" in problem
    assert "convs_per_level" in problem
    assert "unknown" in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": [1 << 40, 1 << 40]},
        {"widths": [1 << 80, 4]},
        {"widths": [1 << 16, 1 << 16]},
        {"widths": [4] * 4000, "strides": [[1, 1, 1]] * 4000, "kernels": [[3, 3, 3]] * 4000},
        {"kernels": [[100001] * 3] * 2},
    ],
)
def test_absurd_sizes_are_refused_without_allocating_them(make_bundle, changes):
    folder = make_bundle()
    plan = json.loads((folder / "model.json").read_text())["plan"]
    rewrite(folder, plan=plan | changes)
    refused(folder)


def test_a_plan_of_a_wrong_kind_is_refused_field_by_field(make_bundle):
    folder = make_bundle()
    plan = json.loads((folder / "model.json").read_text())["plan"]
    rewrite(folder, plan=plan | {"spacing": [0, 1, 1], "axes": [0, 0, 1]})
    problem = refused(folder)
    assert "spacing" in problem
    assert "axes" in problem


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"names": ["a"], "values": [[1], [2]], "overlapping": False, "ignore": None},
        {"names": ["a"], "values": [[]], "overlapping": False, "ignore": None},
        {"names": ["a"], "values": [["1"]], "overlapping": False, "ignore": None},
        {"names": ["a"], "values": [[1]], "overlapping": 0, "ignore": None},
        {"names": ["a"], "values": [[1]], "overlapping": False, "ignore": "x"},
        {"names": [str(n) for n in range(999)], "values": [[n] for n in range(999)]}
        | {"overlapping": False, "ignore": None},
    ],
)
def test_labels_of_a_wrong_kind_are_refused(make_bundle, labels):
    folder = make_bundle()
    rewrite(folder, labels=labels)
    assert "labels" in refused(folder)


def test_patients_of_a_wrong_kind_are_refused(make_bundle):
    folder = make_bundle()
    rewrite(folder, patients={"salt": "x", "hashes": ["p1"]})
    assert "patients" in refused(folder)


def test_modalities_must_be_those_of_the_plan(make_bundle):
    folder = make_bundle()
    rewrite(folder, modalities=["CT"])
    assert "modalities" in refused(folder)


def test_regions_survive(make_bundle):
    labels = Labels(("WT", "ET"), ((1, 4), (4,)), overlapping=True, ignore=9)
    assert Bundle.load(make_bundle(labels=labels)).labels == labels


def test_a_bundle_needs_no_file_of_pretrained_weights(tmp_path):
    plan = flat_plan(patch_size=(32, 32), multiple=32)
    spec = {
        "_target_": "medseg.networks.smp_unet.SMPUNet",
        "encoder_name": "tu-mobilenetv3_small_100",
        "weights": str(tmp_path / "gone.safetensors"),
        "weights_sha256": "0" * 64,
    }
    network = assemble_network(spec, EARLY, plan, TWO_CLASSES)
    parts = (network, spec, EARLY, plan, TWO_CLASSES, "toy", {"fold": 0})
    folder = save_bundle(tmp_path / "model", *parts, patients=["p1"])
    again = Bundle.load(folder).network().state_dict()
    assert all(torch.equal(value, again[name]) for name, value in network.state_dict().items())
