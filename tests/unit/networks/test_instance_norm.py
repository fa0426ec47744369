from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medseg.networks.instance_norm import InstanceNorm

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}


def make(channels: int, dtype: torch.dtype) -> InstanceNorm:
    norm = InstanceNorm(channels).to(dtype)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return norm


def reference(features: Tensor, norm: InstanceNorm, gradient: Tensor) -> tuple[Tensor, ...]:
    """PyTorch's own, in float64, with the gradients of features, weight and bias."""
    x, w, b = (t.detach().double().requires_grad_() for t in (features, norm.weight, norm.bias))
    out = functional.instance_norm(x, weight=w, bias=b, eps=norm.eps)
    return (out.detach(), *torch.autograd.grad(out, (x, w, b), gradient.double()))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4), (torch.bfloat16, 4e-2)]
)
@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (30.0, 2.0)])
def test_equals_torchs(
    layout: str, dtype: torch.dtype, tolerance: float, mean: float, deviation: float
) -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(3, 5, 8, 9, 7, generator=generator) * deviation + mean
    gradient = torch.randn(3, 5, 8, 9, 7, generator=generator)
    features, gradient = (t.to(dtype).to(memory_format=LAYOUTS[layout]) for t in (features, gradient))
    features.requires_grad_()
    norm = make(5, torch.float64 if dtype == torch.float64 else torch.float32)
    out = norm(features)
    found = (out.detach(), *torch.autograd.grad(out, (features, norm.weight, norm.bias), gradient))
    assert out.dtype == dtype
    for ours, theirs in zip(found, reference(features, norm, gradient), strict=True):
        close = {"rtol": tolerance, "atol": tolerance * float(theirs.abs().max())}
        torch.testing.assert_close(ours.double(), theirs, **close)


def test_keeps_the_layout() -> None:
    features = torch.randn(2, 4, 5, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    out = InstanceNorm(4)(features)
    assert out.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(out.square().sum(), features)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_gradient_is_the_derivative_with_channels_last() -> None:
    norm = make(3, torch.float64)
    features = torch.randn(2, 3, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(
            norm, {"weight": weight, "bias": bias}, x.contiguous(memory_format=torch.channels_last_3d)
        )
        return out

    inputs = [t.detach().requires_grad_() for t in (features, norm.weight, norm.bias)]
    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_large_offset_does_not_cancel(layout: str) -> None:
    features = torch.randn(2, 4, 12, 12, 12, generator=torch.Generator().manual_seed(3)) + 300
    out = InstanceNorm(4)(features.contiguous(memory_format=LAYOUTS[layout]))
    torch.testing.assert_close(out.std((2, 3, 4)), torch.ones(2, 4), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_may_be_bfloat16_too(layout: str) -> None:
    features = torch.randn(2, 4, 6, 5, 4, generator=torch.Generator().manual_seed(4))
    norm = make(4, torch.float32)
    with torch.no_grad():
        expected = norm(features)
        low = features.bfloat16().contiguous(memory_format=LAYOUTS[layout])
        found = norm.bfloat16()(low)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 1, 1, 1), (2, 3, 7)])
def test_any_number_of_voxels(shape: tuple[int, ...]) -> None:
    features = torch.randn(shape).requires_grad_()
    InstanceNorm(3)(features).sum().backward()
    assert features.grad is not None
