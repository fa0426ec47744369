from __future__ import annotations

from itertools import product

import pytest
import torch

from medseg.networks.convolution import Conv2d, Conv3d


def gradients(
    convolution: torch.nn.Module, features: torch.Tensor, autocast: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    features = features.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = convolution(features)
    assert out.dtype == (torch.bfloat16 if autocast else torch.float32)
    weight = convolution.weight
    found = torch.autograd.grad(out.float().square().sum(), (features, weight))  # type: ignore[arg-type]
    return found[0], found[1]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 3, 3), (3, 3, 1), (3, 3), (5, 5)])
def test_bfloat16_gradients_are_right_however_small_the_features(
    kernel: tuple[int, ...], stride: int
) -> None:
    make = Conv3d if len(kernel) == 3 else Conv2d
    padding = tuple(size // 2 for size in kernel)
    for size in product((1, 2, 3, 4), repeat=len(kernel)):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(2, 8, *size, generator=generator).bfloat16().float()
        convolution = make(8, 16, kernel, stride, padding, bias=False)
        convolution.weight.data = (
            torch.randn(convolution.weight.shape, generator=generator).bfloat16().float()
        )
        pairs = zip(
            gradients(convolution, features, True), gradients(convolution, features, False), strict=True
        )
        for low, exact in pairs:
            assert float((low - exact).abs().max()) <= 0.04 * float(exact.abs().max()) + 1e-6, size


def test_bfloat16_weights_train_too() -> None:
    convolution = Conv3d(4, 4, 3, padding=1).bfloat16()
    convolution(torch.randn(2, 4, 2, 2, 5).bfloat16()).float().square().sum().backward()
    assert convolution.weight.grad is not None
    assert convolution.weight.grad.dtype == torch.bfloat16
    assert torch.isfinite(convolution.weight.grad).all()
