from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.contracts import Topology
from medseg.errors import UserError
from medseg.networks.layers import Layers
from medseg.networks.vnet import VNet
from medseg.networks.vnet_blocks import InputStage

from .topologies import TOPOLOGIES


def convolutions(network: nn.Module) -> list[nn.Conv3d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv3d)]


def test_kernels_are_the_plans_unless_asked() -> None:
    topology = TOPOLOGIES["3d-anisotropic"]
    kept = {c.kernel_size for c in convolutions(VNet(topology).encoder(1)) if c.stride == (1, 1, 1)}
    assert kept == {(3, 3, 1), (3, 3, 3)}
    wide = {
        c.kernel_size for c in convolutions(VNet(topology, kernel_size=5).encoder(1)) if c.stride == (1, 1, 1)
    }
    assert wide == {(5, 5, 1), (5, 5, 5)}


def test_steps_are_convolutions_as_large_as_their_stride() -> None:
    topology = TOPOLOGIES["3d-anisotropic"]
    strided = [c.kernel_size for c in convolutions(VNet(topology).encoder(1)) if c.stride != (1, 1, 1)]
    assert strided == [*topology.strides[1:]]


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 4), (2, 4), (3, 4), (5, 4), (4, 4)])
def test_the_image_is_repeated_to_the_width(inputs: int, outputs: int) -> None:
    stage = InputStage(Layers(2, activation="relu"), inputs, outputs, (3, 3), 1)
    for parameter in stage.convs.parameters():
        nn.init.zeros_(parameter)
    image = torch.rand(2, inputs, 6, 5)
    out = stage(image)
    for channel in range(outputs):
        assert torch.equal(out[:, channel], image[:, channel % inputs])


@pytest.mark.parametrize(("norm", "norms"), [("batch", 1), ("instance", 0), ("group", 0)])
def test_only_a_batch_norm_stands_before_the_logits(norm: str, norms: int) -> None:
    """A norm per case would take the amount of foreground away."""
    network = VNet(TOPOLOGIES["3d"], norm=norm).whole(1, 3, False)  # type: ignore[arg-type]
    head = network.decoder.heads[0]  # type: ignore[index, union-attr]
    assert sum(type(module).__name__.endswith(("Norm3d", "Norm")) for module in head.modules()) == norms


def test_the_way_up_is_twice_as_wide() -> None:
    topology = TOPOLOGIES["3d"]
    blocks = VNet(topology).whole(1, 2, True).decoder.blocks  # type: ignore[union-attr]
    assert [block.convs[0].in_channels for block in blocks] == [2 * w for w in topology.widths[:-1]]  # type: ignore[index, union-attr]


def test_the_originals_numbers_of_convolutions() -> None:
    strides = ((1, 1), *((2, 2),) * 4)
    topology = Topology(2, (32, 32), strides, ((3, 3),) * 5, (4,) * 5)
    network = VNet(topology).whole(1, 2, False)

    def count(module: nn.Module) -> int:
        kinds = [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.stride == (1, 1)]
        return len(kinds)

    assert [count(stage) for stage in network.encoder.stages] == [1, 2, 3, 3, 3]  # type: ignore[union-attr]
    assert [count(block) for block in network.decoder.blocks] == [1, 2, 3, 3]  # type: ignore[union-attr]


def test_dropout_drops_in_training_alone() -> None:
    topology = Topology(2, (16, 16), ((1, 1), (2, 2)), ((3, 3), (3, 3)), (32, 32))
    image = torch.randn(1, 1, *topology.patch_size)
    network = VNet(topology, dropout=0.3).whole(1, 2, False)
    assert not torch.equal(network(image)[0], network(image)[0])
    network.eval()
    assert torch.equal(network(image)[0], network(image)[0])


@pytest.mark.parametrize(
    "options",
    [{"kernel_size": 4}, {"kernel_size": -1}, {"convs_per_level": []}, {"decoder_convs": [1, 0]}],
)
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        VNet(TOPOLOGIES["3d"], **options).whole(1, 2, False)  # type: ignore[arg-type]
