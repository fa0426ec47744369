"""What a network costs: counted on tensors without memory, so that nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Of one network and one patch.

    Attributes:
        parameters: numbers that are trained.
        gflop: billions of floating point operations of one forward pass; a multiplication and an addition
            are two. Norms and activations are not counted.
        activation_gb: GB that a forward pass keeps for the backward pass, in 32 bits and without the
            weights.
    """

    parameters: int
    gflop: float
    activation_gb: float


def count_parameters(make: Callable[[], nn.Module]) -> int:
    """The numbers that are trained."""
    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters() if p.requires_grad)


def measure_cost(make: Callable[[], nn.Module], shape: Sequence[int]) -> Cost:
    """The cost of one forward pass in training on an image of ``shape``, ``(B, M, *S)``."""
    with torch.device("meta"):
        network = make().train()
        image = torch.zeros(*shape)
        present = torch.ones(shape[0], shape[1], dtype=torch.bool)
        kept = _Kept(network)
        counter = FlopCounterMode(display=False)
        with counter, torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor):
            logits = network(image, present)
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    del logits
    return Cost(parameters, counter.get_total_flops() / 1e9, kept.bytes / 1e9)


def most_gflop(make: Callable[[], nn.Module], shape: Sequence[int]) -> float:
    """Of a network that finds objects: billions of operations where it finds as many as it may.

    It is one whose module has ``every_region``; ``shape`` is that of an image, ``(1, M, W, H)``.
    """
    with torch.device("meta"):
        modules: list[Any] = list(make().modules())
        finder = next(module for module in modules if hasattr(module, "every_region"))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            finder.every_region(torch.zeros(*shape))
    operations: int = counter.get_total_flops()
    return operations / 1e9


class _Kept:
    """Counts the storages kept for the backward pass, each once, weights and buffers left out."""

    def __init__(self, network: nn.Module) -> None:
        own = [*network.parameters(), *network.buffers()]
        self._seen: dict[int, Any] = {t.untyped_storage()._cdata: None for t in own}
        self.bytes = 0

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen[storage._cdata] = storage  # held, so that no other gets its number
            self.bytes += storage.nbytes()
        return tensor
