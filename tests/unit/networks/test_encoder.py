from __future__ import annotations

import pytest
import torch

from medseg.errors import UserError
from medseg.networks.unet import UNet

from .topologies import TOPOLOGIES


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_any_multiple_of_the_strides_goes_through(name: str) -> None:
    topology = TOPOLOGIES[name]
    network = UNet(topology).whole(1, 2, False).eval()
    for times in (2, 3):
        size = tuple(n * times for n in topology.divisor)
        with torch.no_grad():
            assert network(torch.randn(1, 1, *size))[0].shape[2:] == size


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_size_that_the_strides_do_not_divide_is_refused(name: str) -> None:
    topology = TOPOLOGIES[name]
    size = (2 * topology.divisor[0] + 1, *topology.patch_size[1:])
    with pytest.raises(UserError, match=f"give multiples of .*{topology.divisor[0]}"):
        UNet(topology).encoder(1)(torch.zeros(1, 1, *size))
