from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from medseg.errors import UserError
from medseg.networks.layers import Layers
from medseg.networks.upsample import make_upsample

STEPS = [*product((1, 2, 3), repeat=2), (2, 2, 1), (4, 1, 3)]


@pytest.mark.parametrize("kind", ["transposed", "overlapping", "linear"])
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_multiplies_the_size(kind: str, step: tuple[int, ...]) -> None:
    layers = Layers(len(step))
    upsample = make_upsample(kind, layers, 3, 5, step)  # type: ignore[arg-type]
    for size in (1, 2, 5):
        made = upsample(torch.randn(2, 3, *(size,) * len(step)))
        assert made.shape == (2, 5, *(size * s for s in step))


def test_overlapping_windows_reach_their_neighbours() -> None:
    upsample = make_upsample("overlapping", Layers(2), 1, 1, (2, 1))
    assert isinstance(upsample, nn.Sequential)
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 1, 1] = 1
    touched = upsample[0](image)[0, 0] != 0
    assert touched.sum(0).tolist() == [0, 3, 0]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="overlapping"):
        make_upsample("nearest", Layers(2), 1, 1, (2, 2))  # type: ignore[arg-type]
