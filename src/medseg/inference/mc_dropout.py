"""Monte Carlo dropout: several passes through a network whose dropout layers alone are active."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from medseg.errors import UserError


def dropout_layers(network: nn.Module) -> list[nn.Module]:
    """The dropout layers that drop something."""
    return [layer for layer in network.modules() if isinstance(layer, _DropoutNd) and layer.p > 0]


def refuse_without_dropout(network: nn.Module, where: str) -> None:
    """Every pass through such a network would be the same.

    Raises:
        UserError: the network has no dropout layer that drops anything.
    """
    if not dropout_layers(network):
        problem = f"{where} was trained without dropout, so that all passes are the same"
        raise UserError("inference.mc_dropout", problem, "train with network.dropout=0.2, or use 0 and flips")


@contextmanager
def dropping(networks: Sequence[nn.Module], device: torch.device, *seeds: int) -> Iterator[None]:
    """While inside, dropout layers drop, by random numbers that the ``seeds`` alone decide (Gal 2016)."""
    layers = [layer for network in networks for layer in dropout_layers(network)]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_mixed(seeds))
        for layer in layers:
            layer.train()
        try:
            yield
        finally:
            for layer in layers:
                layer.eval()


def _mixed(seeds: Sequence[int]) -> int:
    import numpy as np

    return int(np.random.SeedSequence(list(seeds)).generate_state(1, np.uint64)[0] >> 1)
