from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from medseg.contracts import Topology
from medseg.errors import UserError
from medseg.networks.layers import Layers
from medseg.networks.residual_block import ResidualBlock
from medseg.networks.residual_unet import ResidualUNet

TOPOLOGY = Topology(2, (16, 16), ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3, (4, 6, 6))


def count_by_hand(topology: Topology, blocks: tuple[int, ...], modalities: int, classes: int) -> int:
    """Parameters of nnU-Net's ResidualEncoderUNet with one decoder convolution and conv biases off."""
    width = topology.widths
    total = modalities * width[0] * 9 + 2 * width[0]  # stem
    inputs = width[0]
    for level, count in enumerate(blocks):
        for _ in range(count):
            total += 9 * inputs * width[level] + 9 * width[level] ** 2 + 4 * width[level]
            if inputs != width[level]:
                total += inputs * width[level] + 2 * width[level]
            inputs = width[level]
    for fine, coarse in pairwise(width):
        total += 4 * coarse * fine + 9 * 2 * fine * fine + 2 * fine
    return total + width[0] * classes + classes


def test_parameters_are_as_many_as_counted_by_hand() -> None:
    network = ResidualUNet(TOPOLOGY).whole(2, 3, False)
    assert sum(p.numel() for p in network.parameters()) == count_by_hand(TOPOLOGY, (1, 3, 4), 2, 3)


def test_the_last_number_of_blocks_counts_for_deeper_levels() -> None:
    network = ResidualUNet(TOPOLOGY, blocks_per_level=[2]).whole(2, 3, False)
    assert sum(p.numel() for p in network.parameters()) == count_by_hand(TOPOLOGY, (2, 2, 2), 2, 3)


@pytest.mark.parametrize("blocks", [[], [1, 0, 2]])
def test_a_level_without_a_block_is_refused(blocks: list[int]) -> None:
    with pytest.raises(UserError, match="blocks_per_level"):
        ResidualUNet(TOPOLOGY, blocks_per_level=blocks)


@pytest.mark.parametrize(("inputs", "stride"), [(4, (1, 1)), (4, (2, 1)), (3, (1, 1)), (3, (2, 2))])
def test_block_is_body_plus_shortcut(inputs: int, stride: tuple[int, int]) -> None:
    block = ResidualBlock(Layers(2), inputs, 4, (3, 3), stride).eval()
    image = torch.randn(2, inputs, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = dict(block.named_parameters())
    for weight in weights.values():
        torch.nn.init.normal_(weight, std=0.5)

    def norm(x: torch.Tensor, prefix: str) -> torch.Tensor:
        return functional.instance_norm(x, weight=weights[prefix + ".weight"], bias=weights[prefix + ".bias"])

    body = functional.conv2d(image, weights["body.0.weight"], stride=stride, padding=1)
    body = functional.leaky_relu(norm(body, "body.1"), 0.01)
    body = norm(functional.conv2d(body, weights["body.3.weight"], padding=1), "body.4")
    shortcut = functional.avg_pool2d(image, stride)
    if inputs != 4:
        at = 0 if stride == (1, 1) else 1
        shortcut = norm(functional.conv2d(shortcut, weights[f"shortcut.{at}.weight"]), f"shortcut.{at + 1}")
    expected = functional.leaky_relu(body + shortcut, 0.01)
    torch.testing.assert_close(block(image), expected, rtol=1e-4, atol=1e-5)


def test_silenced_blocks_pass_their_shortcut() -> None:
    block = ResidualBlock(Layers(2, activation="relu"), 4, 4, (3, 3), (1, 1))
    image = torch.rand(2, 4, 8, 8)
    assert not torch.equal(block(image), image)
    block.silence()
    assert torch.equal(block(image), image)
