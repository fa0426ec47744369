from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.depthwise_unet import DepthwiseUNet
from medseg.networks.inverted_residual import InvertedResidual
from medseg.networks.layers import Layers

from .topologies import TOPOLOGIES
from .weight_copies import count


def plan(dims: int, width: int, most: int, levels: int) -> Topology:
    strides = ((1,) * dims, *((2,) * dims,) * (levels - 1))
    widths = tuple(min(width * 2**level, most) for level in range(levels))
    return Topology(dims, (2 ** (levels + 1),) * dims, strides, ((3,) * dims,) * levels, widths)


@pytest.mark.parametrize(
    ("dims", "width", "most", "levels"), [(3, 32, 320, 6), (3, 16, 256, 5), (2, 32, 512, 8), (2, 16, 256, 7)]
)
def test_is_of_deployment_size(dims: int, width: int, most: int, levels: int) -> None:
    """For the plans of GPUs and CPUs: some 100,000 parameters, where a U-Net has millions."""
    with torch.device("meta"):
        network = DepthwiseUNet(plan(dims, width, most, levels)).whole(1, 2, False)
    assert 100_000 < count(network) < 600_000


def test_the_finest_level_is_not_widened() -> None:
    network = DepthwiseUNet(plan(2, 32, 512, 5), expansion=3).whole(1, 2, False)
    widest: dict[int, int] = {}

    def note(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        widest[output.shape[2]] = max(widest.get(output.shape[2], 0), output.shape[1])

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)  # type: ignore[arg-type]
    network(torch.zeros(1, 1, 64, 64))
    assert widest == {64: 48, 32: 96, 16: 192, 8: 192, 4: 192}  # 48: one depthwise convolution's input at 64


@pytest.mark.parametrize(("inputs", "stride", "expansion"), [(4, (1, 1), 3), (3, (1, 1), 2), (4, (2, 1), 1)])
def test_block_widens_convolves_and_narrows(inputs: int, stride: tuple[int, int], expansion: int) -> None:
    block = InvertedResidual(
        Layers(2, "batch", "relu"), inputs, 4, (3, 3), stride, expansion=expansion
    ).eval()
    image = torch.randn(2, inputs, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = [p for p in block.parameters() if p.ndim == 4]
    out = image
    if expansion > 1:
        out = functional.relu(functional.conv2d(out, weights.pop(0)) / (1 + 1e-5) ** 0.5)
    out = functional.conv2d(out, weights[0], stride=stride, padding=1, groups=expansion * inputs)
    out = functional.conv2d(functional.relu(out / (1 + 1e-5) ** 0.5), weights[1]) / (1 + 1e-5) ** 0.5
    shortcut = image if inputs == 4 and stride == (1, 1) else 0.0
    torch.testing.assert_close(block(image), out + shortcut)


def test_decodes_a_pyramid_of_another_depth_and_width() -> None:
    pyramid = Pyramid(2, (5, 7, 9, 11), ((2, 2), (4, 4), (8, 8), (16, 16)))
    decoder = DepthwiseUNet(TOPOLOGIES["2d"]).decoder(pyramid, 3, True)
    features = [
        torch.randn(1, c, 32 // s[0], 32 // s[1])
        for c, s in zip(pyramid.channels, pyramid.strides, strict=True)
    ]
    assert [level.shape[2] for level in decoder(features)] == [32, 16, 8]


@pytest.mark.parametrize("norm", ["instance", "batch", "group"])
def test_every_norm_trains(norm: Any) -> None:
    topology = TOPOLOGIES["3d-anisotropic"]
    network = DepthwiseUNet(topology, norm=norm, blocks_per_level=1, expansion=1).whole(1, 2, True)
    logits = network(torch.randn(2, 1, *topology.patch_size))
    torch.stack([level.square().mean() for level in logits]).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize(
    "options", [{"width_share": 0.0}, {"max_width": 4}, {"blocks_per_level": 0}, {"expansion": 0}]
)
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        DepthwiseUNet(TOPOLOGIES["2d"], **options)
