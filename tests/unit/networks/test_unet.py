from __future__ import annotations

import pytest
import torch

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.unet import UNet

from .topologies import TOPOLOGIES


def make(topology: Topology, deep_supervision: bool) -> torch.nn.Module:
    return UNet(topology).whole(2, 3, deep_supervision)


FOUR = Topology(3, (16, 16, 8), ((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)), ((3, 3, 3),) * 4, (4, 6, 8, 10))


@pytest.mark.parametrize(("levels", "heads"), [(2, 1), (3, 1), (4, 2), (5, 3)])
def test_every_level_made_but_the_coarsest_has_a_head(levels: int, heads: int) -> None:
    size = 2**levels
    strides = ((1, 1), *((2, 2),) * (levels - 1))
    topology = Topology(2, (size, size), strides, ((3, 3),) * levels, (4,) * levels)
    image = torch.zeros(1, 2, size, size)
    deep = make(topology, True)
    assert [level.shape[2] for level in deep(image)] == [size // 2**i for i in range(heads)]
    assert len(deep.eval()(image)) == 1
    assert sum("heads" in key for key, _ in make(topology, False).named_parameters()) == 2


@pytest.mark.parametrize("norm", ["instance", "batch", "group"])
@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "gelu", "silu", "elu", "prelu"])
@pytest.mark.parametrize("upsampling", ["transposed", "overlapping", "linear"])
def test_every_choice_trains(norm: str, activation: str, upsampling: str) -> None:
    topology = TOPOLOGIES["3d-anisotropic"]
    downsampling = "max_pool" if upsampling == "linear" else "strided"
    options = {"norm": norm, "activation": activation, "upsampling": upsampling, "downsampling": downsampling}
    network = UNet(topology, dropout=0.2, convs_per_level=1, **options).whole(1, 2, True)  # type: ignore[arg-type]
    logits = network(torch.randn(2, 1, *topology.patch_size))
    assert logits[0].shape == (2, 2, *topology.patch_size)
    torch.stack([level.square().mean() for level in logits]).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())  # type: ignore[arg-type]


def test_dropout_drops_whole_channels_in_training_alone() -> None:
    topology = Topology(2, (16, 16), ((1, 1), (2, 2)), ((3, 3), (3, 3)), (32, 32))
    image = torch.randn(1, 1, *topology.patch_size)
    network = UNet(topology, dropout=0.2).whole(1, 2, False)
    assert not torch.equal(network(image)[0], network(image)[0])
    network.eval()
    assert torch.equal(network(image)[0], network(image)[0])


def test_decodes_a_pyramid_of_another_depth_and_width() -> None:
    pyramid = Pyramid(2, (5, 7, 9, 11, 13), ((2, 2), (4, 4), (8, 8), (16, 16), (32, 32)))
    decoder = UNet(TOPOLOGIES["2d"]).decoder(pyramid, 3, True)
    features = [
        torch.randn(1, c, 64 // s[0], 64 // s[1])
        for c, s in zip(pyramid.channels, pyramid.strides, strict=True)
    ]
    assert [level.shape[2] for level in decoder(features)] == [64, 32, 16, 8]


def test_nothing_before_a_norm_has_a_useless_bias() -> None:
    biased = [key for key, _ in make(FOUR, True).named_parameters() if key.endswith("bias")]
    norms_and_heads = sum(type(m).__name__ == "InstanceNorm" for m in make(FOUR, True).modules()) + 2
    assert len(biased) == norms_and_heads


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "layer"},
        {"activation": "tanh"},
        {"upsampling": "nearest"},
        {"downsampling": "mean_pool"},
        {"dropout": 1.0},
        {"convs_per_level": 0},
    ],
)
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        UNet(FOUR, **options).whole(1, 2, False)  # type: ignore[arg-type]
