from __future__ import annotations

import pytest
import torch

from medseg.contracts import Pyramid, Topology
from medseg.networks.nested_decoder import NestedDecoder
from medseg.networks.unet_plus_plus import UNetPlusPlus

from .topologies import TOPOLOGIES


def flat(levels: int) -> Topology:
    size = 2**levels
    strides = ((1, 1), *((2, 2),) * (levels - 1))
    return Topology(2, (size, size), strides, ((3, 3),) * levels, (4, 6, 8, 10)[:levels])


@pytest.mark.parametrize(("levels", "nodes", "heads"), [(2, 1, 1), (3, 3, 2), (4, 6, 3)])
def test_nodes_fill_a_triangle_and_every_depth_has_a_head(levels: int, nodes: int, heads: int) -> None:
    topology = flat(levels)
    network = UNetPlusPlus(topology).whole(1, 2, True)
    decoder = network.decoder
    assert isinstance(decoder, NestedDecoder)
    assert len(decoder.blocks) == nodes
    image = torch.randn(2, 1, *topology.patch_size)
    assert [level.shape for level in network(image)] == [(2, 2, *topology.patch_size)] * heads
    assert len(network.eval()(image)) == 1


def test_the_last_logits_are_of_the_shallowest_nested_unet() -> None:
    """Only the first two levels reach the head of column 1, all of them the head of the last column."""
    topology = flat(4)
    network = UNetPlusPlus(topology).whole(1, 2, True)
    features = [level.detach().requires_grad_() for level in network.encoder(torch.randn(1, 1, 16, 16))]  # type: ignore[operator]
    logits = network.decoder(features)  # type: ignore[operator]
    for head, reached in zip(logits, (4, 3, 2), strict=True):
        found = torch.autograd.grad(head.square().sum(), features, retain_graph=True, allow_unused=True)
        assert [gradient is not None for gradient in found] == [level < reached for level in range(4)]


def test_a_pyramid_that_starts_coarse_gets_logits_of_full_size_first() -> None:
    topology = TOPOLOGIES["starts-coarse"]
    network = UNetPlusPlus(topology).whole(1, 2, True)
    first, second = network(torch.randn(1, 1, *topology.patch_size))
    assert first.shape[2:] == topology.patch_size
    assert second.shape[2:] == tuple(
        n // s for n, s in zip(topology.patch_size, topology.strides[0], strict=True)
    )


def test_decodes_a_single_level() -> None:
    decoder = UNetPlusPlus(TOPOLOGIES["2d"]).decoder(Pyramid(2, (5,), ((1, 1),)), 3, True)
    assert [level.shape for level in decoder([torch.randn(1, 5, 4, 4)])] == [(1, 3, 4, 4)]
