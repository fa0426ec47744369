from __future__ import annotations

import pytest
import torch

from medseg.networks.memory_layout import channels_last, in_fast_layout


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 6), (2, 1, 4, 5), (2, 1, 4, 5, 6)])
def test_values_stay_and_convolutions_follow(shape: tuple[int, ...]) -> None:
    image = torch.randn(shape)
    fast = in_fast_layout(image)
    assert torch.equal(fast, image)
    convolution = (torch.nn.Conv2d if len(shape) == 4 else torch.nn.Conv3d)(shape[1], 4, 3)
    assert channels_last(convolution(fast))


def test_the_usual_layout_is_not_channels_last() -> None:
    assert not channels_last(torch.zeros(2, 3, 4, 5))
    assert not channels_last(torch.zeros(2, 3, 4))
