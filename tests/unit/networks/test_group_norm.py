from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medseg.networks.group_norm import GroupNorm

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}


def make(groups: int, channels: int, dtype: torch.dtype) -> GroupNorm:
    norm = GroupNorm(groups, channels).to(dtype)
    generator = torch.Generator().manual_seed(0)
    for parameter in norm.parameters():
        parameter.data = torch.randn(channels, generator=generator).to(dtype)
    return norm


def reference(features: Tensor, norm: GroupNorm, gradient: Tensor) -> tuple[Tensor, ...]:
    """PyTorch's own, in float64, with the gradients of features, weight and bias."""
    x, w, b = (t.detach().double().contiguous().requires_grad_() for t in (features, norm.weight, norm.bias))
    out = functional.group_norm(x, norm.num_groups, w, b, norm.eps)
    return (out.detach(), *torch.autograd.grad(out, (x, w, b), gradient.double()))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4), (torch.bfloat16, 4e-2)]
)
@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (30.0, 2.0)])
def test_equals_torchs(
    layout: str, dtype: torch.dtype, tolerance: float, groups: int, mean: float, deviation: float
) -> None:
    generator = torch.Generator().manual_seed(1)
    # channels of unlike means, which make up much of a group's variance
    offsets = mean + deviation * torch.arange(6.0).view(6, 1, 1, 1)
    features = torch.randn(3, 6, 8, 9, 7, generator=generator) * deviation + offsets
    gradient = torch.randn(3, 6, 8, 9, 7, generator=generator)
    features, gradient = (t.to(dtype).to(memory_format=LAYOUTS[layout]) for t in (features, gradient))
    features.requires_grad_()
    norm = make(groups, 6, torch.float64 if dtype == torch.float64 else torch.float32)
    out = norm(features)
    found = (out.detach(), *torch.autograd.grad(out, (features, norm.weight, norm.bias), gradient))
    assert out.dtype == dtype
    for ours, theirs in zip(found, reference(features, norm, gradient), strict=True):
        close = {"rtol": tolerance, "atol": tolerance * float(theirs.abs().max())}
        torch.testing.assert_close(ours.double(), theirs, **close)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_large_offset_does_not_cancel(layout: str) -> None:
    """With channels innermost PyTorch's own is off by 2 deviations here."""
    features = torch.randn(2, 16, 32, 32, 32, generator=torch.Generator().manual_seed(3)) + 300
    norm = GroupNorm(8, 16)
    out = norm(features.contiguous(memory_format=LAYOUTS[layout]))
    exact = functional.group_norm(features.double(), 8)
    torch.testing.assert_close(out.double(), exact, rtol=5e-3, atol=5e-3)


def test_keeps_the_layout() -> None:
    features = torch.randn(2, 4, 5, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    out = GroupNorm(2, 4)(features)
    assert out.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(out.square().sum(), features)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_gradient_is_the_derivative_with_channels_last() -> None:
    norm = make(2, 4, torch.float64)
    features = torch.randn(2, 4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(
            norm, {"weight": weight, "bias": bias}, x.contiguous(memory_format=torch.channels_last_3d)
        )
        return out

    inputs = [t.detach().requires_grad_() for t in (features, norm.weight, norm.bias)]
    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_may_be_bfloat16_too(layout: str) -> None:
    features = torch.randn(2, 4, 6, 5, 4, generator=torch.Generator().manual_seed(4))
    norm = make(2, 4, torch.float32)
    with torch.no_grad():
        expected = norm(features)
    low = features.bfloat16().contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
    found = norm.bfloat16()(low)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
    found.float().sum().backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(2, 4, 1, 1), (1, 4, 1, 1, 1)])
def test_any_number_of_voxels(shape: tuple[int, ...]) -> None:
    features = torch.randn(shape).requires_grad_()
    GroupNorm(4, 4)(features).sum().backward()
    assert features.grad is not None
