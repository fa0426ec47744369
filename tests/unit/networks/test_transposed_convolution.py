from __future__ import annotations

from itertools import product

import pytest
import torch

from medseg.networks.transposed_convolution import ConvTranspose2d, ConvTranspose3d


def gradients(
    convolution: torch.nn.Module, features: torch.Tensor, autocast: bool, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the features and of the weights."""
    features = features.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = convolution(features)
    assert out.dtype == (torch.bfloat16 if autocast else dtype)
    weight = convolution.get_parameter("weight")
    found = torch.autograd.grad(out.to(dtype).square().sum(), (features, weight))
    return found[0], found[1]


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 5, 3), (7, 7, 7), (3, 3), (7, 7)])
def test_bfloat16_gradients_are_right_however_small_the_features(
    kernel: tuple[int, ...], groups: int
) -> None:
    make = ConvTranspose3d if len(kernel) == 3 else ConvTranspose2d
    padding = tuple(size // 2 for size in kernel)
    for size in product((1, 2, 4), repeat=len(kernel)):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(2, 8, *size, generator=generator).bfloat16().float()
        features = features.to(
            memory_format=torch.channels_last_3d if len(size) == 3 else torch.channels_last
        )
        convolution = make(8, 8, kernel, 2, padding, groups=groups, bias=False)  # type: ignore[arg-type]
        weight = torch.randn(convolution.weight.shape, generator=generator)
        convolution.weight.data = weight.bfloat16().float()
        pairs = zip(
            gradients(convolution, features, True), gradients(convolution, features, False), strict=True
        )
        for low, exact in pairs:
            assert float((low - exact).abs().max()) <= 0.04 * float(exact.abs().max()) + 1e-6, size


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("kernel", [5, 7])
def test_gradients_are_those_of_double_precision(length: int, kernel: int, channels_last: bool) -> None:
    """Large strided kernels go wrong in single precision too, by a few features along the first axis."""
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 8, length, 6, 9, generator=generator).contiguous(memory_format=layout)
    convolution = ConvTranspose3d(8, 8, kernel, 2, kernel // 2, groups=8)
    found = gradients(convolution, features, False)
    exact = gradients(convolution.double(), features.double(), False, torch.float64)
    for ours, theirs in zip(found, exact, strict=True):
        close = 1e-5 * float(theirs.abs().max())
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=close)


@pytest.mark.parametrize("size", [(1, 2), (9, 8)])
def test_any_size_can_be_asked_for(size: tuple[int, int]) -> None:
    convolution = ConvTranspose2d(3, 4, 3, stride=2, padding=1)
    features = torch.randn(1, 3, *size)
    wanted = [2 * n for n in size]
    with torch.autocast("cpu", torch.bfloat16):
        made = convolution(features, wanted)
    assert made.shape == (1, 4, *wanted)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), convolution(features, wanted), rtol=0.05, atol=0.05)
