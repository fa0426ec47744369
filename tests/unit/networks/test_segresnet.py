from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.group_norm import GroupNorm
from medseg.networks.preactivation_block import PreactivationBlock
from medseg.networks.segresnet import SegResNet

from .topologies import TOPOLOGIES


def groups_of(network: nn.Module) -> set[tuple[int, int]]:
    return {(m.num_channels, m.num_groups) for m in network.modules() if isinstance(m, GroupNorm)}


def test_groups_are_as_many_as_divide_the_channels() -> None:
    topology = Topology(2, (8, 8), ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3, (8, 12, 16))
    assert groups_of(SegResNet(topology).encoder(1)) == {(8, 8), (12, 4), (16, 8)}
    assert groups_of(SegResNet(topology, groups=None).encoder(1)) == {(8, 1), (12, 1), (16, 2)}


def test_numbers_of_blocks() -> None:
    topology = TOPOLOGIES["3d-anisotropic"]
    network = SegResNet(topology, blocks_per_level=[1, 2], decoder_blocks=[3, 1]).whole(1, 2, False)

    def count(module: nn.Module) -> int:
        return sum(isinstance(m, PreactivationBlock) for m in module.modules())

    assert [count(stage) for stage in network.encoder.stages] == [1, 2, 2, 2]  # type: ignore[union-attr]
    assert [count(block) for block in network.decoder.blocks] == [3, 1, 1]  # type: ignore[union-attr]


def test_skips_are_added() -> None:
    decoder = SegResNet(TOPOLOGIES["2d"]).decoder(Pyramid(2, (4, 6), ((1, 1), (2, 2))), 2, False)
    skip, deep = torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)
    joined = decoder.join(0, decoder.upsamples[0](deep), skip, deep)  # type: ignore[index, operator]
    torch.testing.assert_close(joined, decoder.upsamples[0](deep) + skip)  # type: ignore[index, operator]
    torch.testing.assert_close(decoder([skip, deep])[0], decoder.heads[0](decoder.blocks[0](joined)))  # type: ignore[index, operator]


@pytest.mark.parametrize("options", [{"groups": 0}, {"blocks_per_level": [0]}, {"decoder_blocks": []}])
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        SegResNet(TOPOLOGIES["2d"], **options).whole(1, 2, False)  # type: ignore[arg-type]
