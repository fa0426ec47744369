"""Mixed precision on volumes that have become smaller than the kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.contracts import Topology
from medseg.networks.attention_unet import AttentionUNet
from medseg.networks.residual_unet import ResidualUNet
from medseg.networks.segresnet import SegResNet
from medseg.networks.unet import UNet
from medseg.networks.unet_architecture import UNetArchitecture
from medseg.networks.unet_plus_plus import UNetPlusPlus
from medseg.networks.vnet import VNet

NETWORKS: dict[str, tuple[type[UNetArchitecture], dict[str, object]]] = {
    "unet": (UNet, {}),
    "unet-overlapping": (UNet, {"upsampling": "overlapping", "downsampling": "max_pool"}),
    "residual_unet": (ResidualUNet, {"blocks_per_level": (1,)}),
    "attention_unet": (AttentionUNet, {}),
    "attention_unet-fine": (AttentionUNet, {"gating": "fine", "gate_finest": True}),
    "unet_plus_plus": (UNetPlusPlus, {}),
    "vnet": (VNet, {"kernel_size": 5, "activation": "elu"}),
    "segresnet": (SegResNet, {}),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def topology(deepest: tuple[int, ...], strides: tuple[tuple[int, ...], ...]) -> Topology:
    size = deepest
    for stride in strides:
        size = tuple(n * s for n, s in zip(size, stride, strict=True))
    dims = len(deepest)
    return Topology(dims, size, strides, ((3,) * dims,) * len(strides), (8, 8, 16)[: len(strides)])


def gradients(
    name: str, shape: Topology, low: bool, modalities: int = 2, **options: object
) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        kind, chosen = NETWORKS[name]
        network = kind(shape, **chosen, **options).whole(modalities, 3, True)  # type: ignore[call-arg]
        image = torch.randn(2, modalities, *shape.patch_size)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        logits = network(image)
    target = torch.linspace(-1, 1, shape.patch_size[0]).view(-1, *(1,) * (len(shape.patch_size) - 1))
    steps = [shape.patch_size[0] // level.shape[2] for level in logits]
    losses = [(z.float() - target[::step]).square().mean() for z, step in zip(logits, steps, strict=True)]
    torch.stack(losses).sum().backward()
    found = {key: p.grad for key, p in network.named_parameters() if p.grad is not None}
    assert len(found) == len(list(network.parameters()))
    return network, found


@every_network
@pytest.mark.parametrize("deepest", [(1, 1, 1), (2, 1, 1), (1, 3, 2), (2, 2, 4)], ids=str)
def test_gradients_are_finite_on_tiny_volumes(name: str, deepest: tuple[int, ...]) -> None:
    shape = topology(deepest, ((1, 1, 1), (2, 2, 1), (2, 1, 2)))
    for modalities in (1, 2):
        _, found = gradients(name, shape, True, modalities)
        assert all(torch.isfinite(gradient).all() for gradient in found.values())
        assert all(gradient.abs().max() < 1e3 for gradient in found.values())


@every_network
@pytest.mark.parametrize("deepest", [(2, 2, 4), (3, 2, 2)], ids=str)
def test_the_deepest_levels_gradients_are_right(name: str, deepest: tuple[int, ...]) -> None:
    """Against float32; wrong ones (PyTorch's own, unguarded) point anywhere."""
    shape = topology(deepest, ((1, 1, 1), (2, 2, 1), (2, 1, 2)))
    network, low = gradients(name, shape, True, norm="batch")
    exact = gradients(name, shape, False, norm="batch")[1]
    assert isinstance(network.encoder, nn.Module)
    deep = {f"encoder.stages.2.{key}" for key, _ in network.encoder.stages[2].named_parameters()}  # type: ignore[index, union-attr]
    for key in deep:
        if exact[key].ndim > 2 and exact[key].norm() > 0:
            agreement = torch.cosine_similarity(low[key].flatten(), exact[key].flatten(), dim=0)
            assert agreement > 0.9, (key, agreement)
