"""What every fusion under conf/fusion must do, with every network under conf/network."""

from __future__ import annotations

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


FUSIONS, NETWORKS = specs("fusion"), specs("network")
FLAT = Topology(2, (16, 16), ((1, 1), (2, 2), (2, 2), (2, 2)), ((3, 3),) * 4, (4, 6, 8, 8))
SOLID = Topology(
    3, (8, 8, 8), ((1, 1, 1), (2, 2, 1), (2, 2, 2)), ((3, 3, 1), (3, 3, 3), (3, 3, 3)), (4, 6, 8)
)


@pytest.mark.parametrize("name", FUSIONS)
def test_file_lists_every_option_with_its_default(name: str) -> None:
    stated = {key: value for key, value in FUSIONS[name].items() if key != "_target_"}
    known = targets.parameters(FUSIONS[name]["_target_"])
    assert stated == {p.name: p.default for p in known if p.keyword_only}


@pytest.mark.parametrize("topology", [FLAT, SOLID], ids=["2d", "3d"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("deep_supervision", [False, True], ids=["plain", "deep"])
def test_one_step_trains_every_parameter(
    name: str, network: str, topology: Topology, deep_supervision: bool
) -> None:
    if topology.spatial_dims not in targets.constants(NETWORKS[network]["_target_"])["DIMS"]:
        pytest.skip(f"{network} has no {topology.spatial_dims}D")
    architecture = targets.build(NETWORKS[network], "network", topology)
    fused = targets.build(FUSIONS[name], "fusion", architecture, 2, 3, deep_supervision)
    assert isinstance(fused, Network)
    image = torch.randn(2, 2, *topology.patch_size, generator=torch.Generator().manual_seed(0))
    logits = fused(image, torch.tensor([[True, True], [True, False]]))
    assert logits[0].shape == (2, 3, *topology.patch_size)
    torch.stack([level.square().mean() for level in logits]).sum().backward()
    assert [key for key, value in fused.named_parameters() if value.grad is None] == []
