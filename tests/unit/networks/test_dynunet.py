from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.nets import DynUNet as MonaiDynUNet

from medseg.contracts import Topology
from medseg.errors import UserError
from medseg.networks.dynunet import DynUNet

from .topologies import TOPOLOGIES
from .weight_copies import assert_same, count, ready

FOUR = Topology(3, (16, 16, 8), ((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)), ((3, 3, 3),) * 4, (4, 6, 8, 10))
PLANS = {"2d": TOPOLOGIES["2d"], "3d": TOPOLOGIES["3d"], "four-levels": FOUR}


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("topology", PLANS.values(), ids=PLANS)
def test_is_monais(topology: Topology, residual: bool) -> None:
    ours = ready(DynUNet(topology, residual=residual).whole(2, 3, False))
    theirs = ready(
        MonaiDynUNet(
            topology.spatial_dims, 2, 3, topology.kernels, topology.strides, topology.strides[1:],
            topology.widths, res_block=residual,
        )
    )  # fmt: skip
    weights = {key: value for key, value in theirs.state_dict().items() if not key.startswith("skip_layers")}
    ours.get_submodule("network").load_state_dict(weights)
    assert count(ours) == count(theirs)
    assert_same(ours, theirs, topology.patch_size)


def test_coarser_logits_are_those_that_monai_enlarges() -> None:
    ours = DynUNet(FOUR).whole(2, 3, True).double()
    theirs = MonaiDynUNet(
        3, 2, 3, FOUR.kernels, FOUR.strides, FOUR.strides[1:], FOUR.widths, deep_supervision=True
    ).double()
    weights = {key: value for key, value in theirs.state_dict().items() if not key.startswith("skip_layers")}
    ours.get_submodule("network").load_state_dict(weights)
    image = torch.randn(1, 2, *FOUR.patch_size, generator=torch.Generator().manual_seed(0)).double()
    found, stacked = ours(image), theirs(image).unbind(1)
    assert [tuple(level.shape[2:]) for level in found] == [(16, 16, 8), (8, 8, 8)]
    for level, other in zip(found, stacked, strict=True):
        enlarged = torch.nn.functional.interpolate(level, other.shape[2:])
        torch.testing.assert_close(enlarged, other)


def test_weights_without_the_coarser_heads_are_a_part_of_those_with() -> None:
    plain, deep = (DynUNet(FOUR).whole(2, 3, deep).state_dict().keys() for deep in (False, True))
    assert plain < deep
    assert all("deep_supervision_heads" in key for key in deep - plain)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "gelu", "silu"])
def test_every_choice_trains(norm: Any, activation: Any) -> None:
    topology = TOPOLOGIES["3d-anisotropic"]
    network = DynUNet(topology, norm=norm, activation=activation).whole(1, 2, True)
    logits = network(torch.randn(2, 1, *topology.patch_size))
    torch.stack([level.square().mean() for level in logits]).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_it_can_be_made_without_memory() -> None:
    with torch.device("meta"):
        network = DynUNet(FOUR).whole(2, 3, False)
    assert {p.device.type for p in network.parameters()} == {"meta"}


def test_it_cannot_be_split() -> None:
    with pytest.raises(UserError, match="network=unet"):
        DynUNet(FOUR).encoder(1)


@pytest.mark.parametrize("options", [{"norm": "group"}, {"activation": "tanh"}])
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        DynUNet(FOUR, **options)


def test_shortcuts_over_large_strides_are_refused() -> None:
    with pytest.raises(UserError, match="more than 2"):
        DynUNet(TOPOLOGIES["3d-anisotropic"], residual=True)


def test_a_plan_of_one_level_is_refused() -> None:
    with pytest.raises(UserError, match="1 level"):
        DynUNet(Topology(2, (8, 8), ((1, 1),), ((3, 3),), (4,)))
