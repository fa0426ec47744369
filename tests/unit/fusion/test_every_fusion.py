"""What every fusion under conf/fusion must do, with every network under conf/network that it can have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medseg import targets
from medseg.contracts import Network, Topology

CONF = Path(__file__).parents[3] / "conf"


def specs(group: str) -> dict[str, dict[str, Any]]:
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CONF / group).glob("*.yaml"))}


def one_of_each(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The first of the files that name the same class: presets of one network differ in their sizes."""
    first = {spec["_target_"]: name for name, spec in reversed(found.items())}
    return {name: spec for name, spec in found.items() if first[spec["_target_"]] == name}


FUSIONS, NETWORKS = specs("fusion"), one_of_each(specs("network"))
TOPOLOGIES = (
    Topology(2, (16, 16), ((1, 1), (2, 2), (2, 2), (2, 2)), ((3, 3),) * 4, (4, 6, 8, 8)),
    Topology(3, (8, 8, 8), ((1, 1, 1), (2, 2, 1), (2, 2, 2)), ((3, 3, 1), (3, 3, 3), (3, 3, 3)), (4, 6, 8)),
)


def cells() -> list[Any]:
    """Each fusion with each network it can have, in each dimension that the network has.

    But for networks that find objects: no loss of their logits trains them.
    """
    facts = {name: targets.constants(spec["_target_"]) for name, spec in NETWORKS.items()}
    halves = {name: targets.constants(spec["_target_"])["NEEDS_MODULAR"] for name, spec in FUSIONS.items()}
    return [
        pytest.param(fusion, network, topology, id=f"{fusion}-{network}-{topology.spatial_dims}d")
        for fusion in FUSIONS
        for network in NETWORKS
        for topology in TOPOLOGIES
        if topology.spatial_dims in facts[network]["DIMS"]
        and (facts[network]["MODULAR"] or not halves[fusion])
        and not facts[network].get("INSTANCES", False)  # has losses of its own, none through its logits
        and not facts[network].get("INSTANCES")
    ]


def make(fusion: str, network: str, topology: Topology, deep_supervision: bool) -> torch.nn.Module:
    """Of two modalities and three classes, on a patch that the network can have."""
    divisor = targets.constants(NETWORKS[network]["_target_"]).get("DIVISOR", 1)
    patch = tuple(-(-size // divisor) * divisor for size in topology.patch_size)
    torch.manual_seed(0)
    architecture = targets.build(NETWORKS[network], "network", replace(topology, patch_size=patch))
    fused = targets.build(FUSIONS[fusion], "fusion", architecture, 2, 3, deep_supervision)
    fused.patch = patch
    return fused


@pytest.mark.parametrize("name", FUSIONS)
def test_file_lists_every_option_with_its_default(name: str) -> None:
    stated = {key: value for key, value in FUSIONS[name].items() if key != "_target_"}
    known = targets.parameters(FUSIONS[name]["_target_"])
    assert stated == {p.name: p.default for p in known if p.keyword_only}


@pytest.mark.parametrize(("fusion", "network", "topology"), cells())
def test_one_step_trains_every_parameter(fusion: str, network: str, topology: Topology) -> None:
    fused = make(fusion, network, topology, deep_supervision=True)
    assert isinstance(fused, Network)
    image = torch.randn(2, 2, *fused.patch, generator=torch.Generator().manual_seed(0))
    logits = fused(image, torch.tensor([[True, False], [True, False]]))
    assert logits[0].shape == (2, 3, *fused.patch)
    torch.stack([level.square().mean() for level in logits]).sum().backward()
    trained = {key: value.grad for key, value in fused.named_parameters() if value.requires_grad}
    assert [key for key, gradient in trained.items() if gradient is None] == []
    assert all(gradient.isfinite().all() for gradient in trained.values())


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=["2d", "3d"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_absent_has_no_effect(fusion: str, topology: Topology) -> None:
    fused = make(fusion, "unet", topology, deep_supervision=False)
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    image = torch.randn(4, 2, *fused.patch, generator=torch.Generator().manual_seed(0))
    answers = []
    for filling in (0.0, float("nan")):
        there = present.reshape(4, 2, *(1,) * topology.spatial_dims)
        torch.manual_seed(1)  # of what is drawn in training
        (logits,) = fused(torch.where(there, image, filling), present)
        fused.zero_grad()
        logits.square().mean().backward()
        assert all(value.grad.isfinite().all() for value in fused.parameters())
        answers.append(logits)
    assert answers[0].isfinite().all()
    assert torch.equal(*answers)
