from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DynUNet as MonaiDynUNet
from torch import nn

from medseg.networks.convolution import Conv3d
from medseg.networks.instance_norm import InstanceNorm
from medseg.networks.safe_layers import use_safe_layers
from medseg.networks.transposed_convolution import ConvTranspose2d, ConvTranspose3d


def foreign() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MonaiDynUNet(
            3, 2, 3, [3] * 4, [1, 2, 2, 2], [2] * 3, [4, 4, 8, 8], norm_name=("INSTANCE", {"affine": True})
        )


def test_names_weights_and_outputs_stay() -> None:
    network = foreign().double()
    image = torch.randn(2, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    before, names = network(image), {key: value.clone() for key, value in network.state_dict().items()}
    use_safe_layers(network)
    assert {type(m) for m in network.modules()} & {nn.Conv3d, nn.ConvTranspose3d, nn.InstanceNorm3d} == set()
    assert all(torch.equal(value, names[key]) for key, value in network.state_dict().items())
    torch.testing.assert_close(network(image), before)


def test_gradients_of_a_tiny_volume_are_right_in_bfloat16() -> None:
    """The volume is 3, 2 and 1 voxels wide where kernels are 3 and 5."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv3d(2, 8, 3, 2, 1),
            nn.GELU(),
            nn.Conv3d(8, 8, 5, padding=2, groups=8),
            nn.GELU(),
            nn.ConvTranspose3d(8, 8, 5, 2, 2, groups=8),
        )
    use_safe_layers(network)
    image = torch.randn(2, 2, 5, 3, 1, generator=torch.Generator().manual_seed(1))
    image = image.contiguous(memory_format=torch.channels_last_3d)
    found = []
    for low in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            out = network(image)
        found.append(torch.autograd.grad(out.float().square().mean(), [*network.parameters()]))
    for low_gradient, exact in zip(*found, strict=True):
        assert float((low_gradient - exact).norm()) <= 0.05 * float(exact.norm())


def test_a_module_used_twice_stays_one() -> None:
    norm = nn.InstanceNorm2d(3, affine=True)
    network = nn.Sequential(nn.Conv2d(3, 3, 3), norm, nn.ConvTranspose2d(3, 3, 3), norm)
    use_safe_layers(network)
    assert network[1] is network[3]
    assert type(network[1]) is InstanceNorm
    assert type(network[2]) is ConvTranspose2d


def test_what_is_not_plain_is_left_alone() -> None:
    class Own(nn.Conv3d):
        pass

    kept = [Own(1, 1, 1), nn.InstanceNorm3d(2), nn.InstanceNorm3d(2, affine=True, track_running_stats=True)]
    network = nn.Sequential(*kept, Conv3d(1, 1, 1), ConvTranspose3d(1, 1, 1))
    before = [type(m) for m in network]
    use_safe_layers(network)
    assert [type(m) for m in network] == before


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_stays(training: bool) -> None:
    network = nn.Sequential(nn.InstanceNorm2d(3, affine=True, eps=0.5)).train(training)
    use_safe_layers(network)
    assert network[0].training is training
    assert network[0].eps == 0.5
