from __future__ import annotations

from itertools import product

import pytest
import torch

from medseg.networks.depthwise_conv import make_depthwise, make_depthwise_transposed

from .test_transposed_convolution import gradients

LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 5, 5), (7, 7, 1), (7, 7, 7), (5, 5), (7, 7)])
def test_gradients_are_right_however_small_the_features(kernel: tuple[int, ...], stride: int) -> None:
    """In single precision, and in bfloat16 within its digits."""
    dims = len(kernel)
    for size in product((1, 2, 5, 7, 9), (1, 3, 8), (1, 4)) if dims == 3 else product((1, 2, 5), (1, 3, 8)):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(2, 4, *size, generator=generator).bfloat16().float()
        features = features.contiguous(memory_format=LAYOUTS[dims])
        convolution = make_depthwise(dims, 4, kernel, (stride,) * dims, bias=False)
        weight = convolution.get_parameter("weight")
        weight.data = torch.randn(weight.shape, generator=generator).bfloat16().float()
        low, single = gradients(convolution, features, True), gradients(convolution, features, False)
        exact = gradients(convolution.double(), features.double(), False, torch.float64)
        for a, b, c in zip(low, single, exact, strict=True):
            most = float(c.abs().max())
            assert float((b - c).abs().max()) <= 1e-5 * most, size
            assert float((a - c).abs().max()) <= 0.04 * most + 1e-6, size


@pytest.mark.parametrize("dims", [2, 3])
def test_channels_stay_apart(dims: int) -> None:
    kernel, ones = (3,) * dims, (1,) * dims
    for make in (
        make_depthwise(dims, 3, kernel, ones, bias=True),
        make_depthwise_transposed(dims, 3, kernel, ones),
    ):
        image = torch.zeros(1, 3, *(4,) * dims, requires_grad=True)
        (gradient,) = torch.autograd.grad(make(image)[:, 1].sum(), image)
        assert gradient[:, 1].abs().sum() > 0
        assert gradient[:, [0, 2]].abs().sum() == 0
