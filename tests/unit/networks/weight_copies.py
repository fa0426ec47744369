"""Weights from one network into another of the same function, module by module, and their comparison."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def ready(network: nn.Module) -> nn.Module:
    """In double precision, so that a comparison may be strict, and as for prediction."""
    return network.double().eval()


def scramble(network: nn.Module) -> None:
    """Other numbers than a constructor's in every parameter and statistic, so that each one matters."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) + 0.5)
            elif tensor.is_floating_point():
                fan = max(1, tensor[0].numel()) if tensor.ndim > 1 else 4
                draw = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.copy_(draw * fan**-0.5 + (1.0 if tensor.ndim == 1 else 0.0))


def copy_weights(ours: nn.Module, theirs: nn.Module, modules: Mapping[str, str]) -> set[str]:
    """Copies what the modules named on the left have from those on the right.

    Every tensor of ``ours`` must be met exactly once.

    Returns:
        The names of the parameters of ``theirs`` that ours have no place for.
    """
    copied: set[str] = set()
    used: set[Tensor] = set()
    for here, there in modules.items():
        target, source = ours.get_submodule(here), theirs.get_submodule(there)
        for name, tensor in target.state_dict(keep_vars=True).items():
            value = getattr(source, name)
            assert value.shape == tensor.shape, (here, there, name)
            tensor.data.copy_(value.data)
            copied.add(f"{here}.{name}")
            used.add(value)
    assert copied == {*ours.state_dict()}
    return {name for name, value in theirs.named_parameters() if value not in used}


def swap_halves(convolution: nn.Module) -> None:
    """The first and the second half of a convolution's inputs in the other order."""
    weight = convolution.weight
    assert isinstance(weight, nn.Parameter)
    half = weight.shape[1] // 2
    weight.data = torch.cat((weight.data[:, half:], weight.data[:, :half]), dim=1)


def fold_bias(norm: nn.Module, convolution: nn.Module) -> None:
    """Takes a bias that the batch norm would subtract again into its running mean."""
    assert isinstance(norm.running_mean, Tensor)
    assert isinstance(convolution.bias, nn.Parameter)
    norm.running_mean -= convolution.bias.data


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def assert_same(
    ours: nn.Module, theirs: nn.Module, size: tuple[int, ...], modalities: int = 2, tolerance: float = 1e-6
) -> None:
    """The same logits, the coarser ones too, and the same gradient of the image."""
    dtype = next(ours.parameters()).dtype
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, modalities, *size, generator=generator, dtype=dtype)
    results = []
    for network in (ours, theirs):
        leaf = image.clone().requires_grad_()
        found = network(leaf)
        logits = list(found) if isinstance(found, tuple | list) else [found]
        (gradient,) = torch.autograd.grad(sum(level.square().sum() for level in logits), leaf)
        results.append((*logits, gradient))
    assert len(results[0]) == len(results[1])
    for mine, other in zip(*results, strict=True):
        scale = float(other.detach().abs().max())
        assert scale > 1e-3
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance * scale)
