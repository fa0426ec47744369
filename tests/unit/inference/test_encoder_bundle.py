"""An encoder bundle gives back what was put in, and refuses everything else with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medseg.contracts import Labels
from medseg.data.plan import Plan
from medseg.errors import UserError
from medseg.files import value_hash
from medseg.inference.assemble import assemble_encoding, assemble_network, encoding_of
from medseg.inference.bundle import Bundle
from medseg.inference.encoder_bundle import load_encoder, save_encoder
from medseg.inference.encoder_facts import EncoderFacts

from .toys import EARLY, TWO_CLASSES, UNET, tiny_plan

MID = {"_target_": "medseg.fusion.mid.MidFusion", "merge": "gated"}
OBJECTIVE = {"_target_": "medseg.objectives.simclr.SimCLR"}
ONE_CLASS = Labels(("other",), ((4,),))
PLAN = tiny_plan(modalities=("t1", "t2"))


def make(plan: Plan = PLAN, fusion: dict[str, Any] = MID, seed: int = 1, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return assemble_network(UNET | options, fusion, plan, ONE_CLASS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(7)
    encoding = assemble_encoding(UNET, MID, PLAN, TWO_CLASSES)
    specs = {"network": UNET, "fusion": MID, "objective": OBJECTIVE}
    return save_encoder(tmp_path / "model", encoding, specs, PLAN, {"cohort": "toys"}, {"patient-1"})


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "encoder.json"
    found = json.loads(file.read_text())
    del found["hash"]
    change(found)
    file.write_text(json.dumps(found | {"hash": value_hash(found)}))


def test_another_task_starts_from_its_weights(folder: Path) -> None:
    facts, network = EncoderFacts.read(folder), make()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_encoder(facts, network)
    torch.manual_seed(7)
    expected = assemble_encoding(UNET, MID, PLAN, TWO_CLASSES).state_dict()
    found = encoding_of(network).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    after = network.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert not any(name.startswith("decoder") for name in changed)


def test_it_says_what_it_is(folder: Path) -> None:
    facts = EncoderFacts.read(folder.parent)
    assert facts.folder == folder, "a run's folder is as good as its model"
    assert (facts.network, facts.fusion, facts.objective) == (UNET, MID, OBJECTIVE)
    assert facts.modalities == ("t1", "t2")
    assert facts.topology["widths"] == [4, 6]
    assert facts.cohort == "toys"
    assert "patient-1" in facts.patients
    assert "patient-2" not in facts.patients
    assert "patient-1" not in (folder / "encoder.json").read_text()
    assert Plan.load(folder / "plan.yaml") == PLAN


def test_writing_it_again_replaces_it_and_leaves_nothing_else(folder: Path) -> None:
    specs = {"network": UNET, "fusion": EARLY, "objective": OBJECTIVE}
    encoding = assemble_encoding(UNET, EARLY, PLAN, TWO_CLASSES)
    save_encoder(folder, encoding, specs, PLAN, {"cohort": "toys"}, set())
    assert EncoderFacts.read(folder).fusion == EARLY
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (lambda: make(convs_per_level=3), "missing encoders.0.stages.0.6.weight"),
        (lambda: make(fusion=EARLY), "unexpected encoders.1"),
        (lambda: make(fusion=EARLY), r"encoders.0.stages.0.0.weight is \[4, 1, 3, 3, 3\] where .* \[4, 2, 3"),
        (lambda: make(fusion=MID | {"merge": "mean"}), "unexpected merges.0"),
        (lambda: make(replace(PLAN, widths=(4, 8))), r"is \[6\] where the network has \[8\]"),
    ],
)
def test_weights_that_do_not_fit_are_listed_and_none_is_loaded(
    folder: Path, network: Callable[[], nn.Module], told: str
) -> None:
    other = network()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(UserError, match=told) as caught:
        load_encoder(EncoderFacts.read(folder), other)
    assert "as in" in caught.value.fix
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_a_fusion_without_an_encoder_of_all_is_refused(folder: Path) -> None:
    late = {"_target_": "medseg.fusion.late.LateFusion"}
    with pytest.raises(UserError, match="use fusion=early or mid"):
        load_encoder(EncoderFacts.read(folder), make(fusion=late))


def test_options_that_differ_are_told(folder: Path) -> None:
    facts = EncoderFacts.read(folder)
    assert facts.other_options(UNET) == []
    assert facts.other_options(UNET | {"norm": "group"}) == ["norm group here, None there"]


def test_another_plan_is_refused_with_what_differs(folder: Path) -> None:
    facts = EncoderFacts.read(folder)
    facts.refuse_topology(PLAN.topology, 1, fixed_patch=True)
    larger = replace(PLAN, patch_size=(16, 16, 16))
    facts.refuse_topology(larger.topology, 1, fixed_patch=False)
    with pytest.raises(UserError, match=r"patch_size \[16, 16, 16\] here, \[8, 8, 8\] there") as caught:
        facts.refuse_topology(larger.topology, 1, fixed_patch=True)
    assert caught.value.fix == f"take its plan with plan.file={folder / 'plan.yaml'}"
    with pytest.raises(UserError, match=r"widths \[4, 8\] here.*slices 3 here, 1 there"):
        facts.refuse_topology(replace(PLAN, widths=(4, 8)).topology, 3, fixed_patch=False)


def test_damage_and_other_things_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        EncoderFacts.read(tmp_path / "nothing")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"has no encoder\.json"):
        EncoderFacts.read(empty)
    (empty / "model.json").write_text("{}")
    with pytest.raises(UserError, match="is a model that segments"):
        EncoderFacts.read(empty)
    with pytest.raises(UserError, match="is a pretrained encoder, which cannot segment"):
        Bundle.load(folder)
    with pytest.raises(UserError, match="the network is VNet"):
        EncoderFacts.read(folder).refuse({"_target_": "medseg.networks.vnet.VNet"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.update(modalities=[]), "modalities is missing or not a list of names"),
        (lambda m: m.update(network={"_target_": 3}), "network is missing or not a spec"),
        (lambda m: m["topology"].update(widths=[0]), "topology is missing or not a topology"),
        (lambda m: m["topology"].pop("slices"), "topology is missing or not a topology"),
        (lambda m: m.update(extra=1), "extra is unknown"),
        (lambda m: m.pop("patients"), "patients is missing"),
        (lambda m: m.update(version=2), "is not of format"),
        (lambda m: m["weights"].update(file="../else.safetensors"), "names the weights"),
    ],
)
def test_facts_of_a_wrong_kind_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(UserError, match=told):
        EncoderFacts.read(folder)


def test_altered_facts_and_weights_are_refused(folder: Path) -> None:
    file = folder / "encoder.json"
    file.write_text(file.read_text().replace('"toys"', '"boys"'))
    with pytest.raises(UserError, match="was altered"):
        EncoderFacts.read(folder)
    rewrite(folder, lambda m: None)
    facts, path = EncoderFacts.read(folder), folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"is not what encoder\.json names"):
        load_encoder(facts, make())
