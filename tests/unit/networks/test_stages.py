"""What freezing, layer-wise learning rates and bundles rely on in the encoders made of other parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.networks.depthwise_unet import DepthwiseUNet
from medseg.networks.mednext import MedNeXt
from medseg.networks.swin_unetr import SwinUNETR
from medseg.networks.unetr import UNETR

from .topologies import TOPOLOGIES

TOPOLOGY = TOPOLOGIES["3d-anisotropic"]
every_one = pytest.mark.parametrize("architecture", [DepthwiseUNet, MedNeXt, SwinUNETR, UNETR])


@every_one
def test_a_stage_per_level_holds_all_parameters(architecture: Any) -> None:
    encoder = architecture(TOPOLOGY).encoder(1)
    assert len(encoder.stages) == len(encoder.pyramid.channels)
    assert all(name.startswith("stages.") for name, _ in encoder.named_parameters())
    assert all(any(p.requires_grad for p in stage.parameters()) for stage in encoder.stages)


@every_one
@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_frozen_stages_take_no_gradient_and_the_others_do(architecture: Any, frozen: int) -> None:
    network = architecture(TOPOLOGY).whole(1, 2, False)
    for stage in list(network.encoder.stages)[:frozen]:
        stage.requires_grad_(False)
    network(torch.randn(2, 1, *TOPOLOGY.patch_size))[0].square().mean().backward()
    for level, stage in enumerate(network.encoder.stages):
        assert all((p.grad is None) == (level < frozen) for p in stage.parameters())


@every_one
def test_weights_without_coarser_heads_are_a_part_of_those_with(architecture: Any) -> None:
    with torch.device("meta"):
        plain, deep = (architecture(TOPOLOGY).whole(1, 2, d).state_dict() for d in (False, True))
    real = architecture(TOPOLOGY).whole(1, 2, False).state_dict()
    assert {key: value.shape for key, value in plain.items()} == {k: v.shape for k, v in real.items()}
    assert {key.split(".")[1] for key in deep.keys() - plain.keys()} == {"heads"}
    assert plain.keys() <= deep.keys()
