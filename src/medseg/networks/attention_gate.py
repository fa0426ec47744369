"""Additive attention gates (Oktay 2018): what comes from below says where a skip matters."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import UserError
from medseg.networks.layers import Layers

Gating = Literal["coarse", "fine"]
OPEN = 3.0
"""The logit that a fresh gate starts from: it lets 95 % pass everywhere and still has a gradient."""


class GridGate(nn.Module):
    """Attention on the coarser level's grid, interpolated to the skip's: the paper's.

    The skip comes down to the gating signal's grid by a strided convolution.

    Args:
        layers: which layers to use.
        skip: channels of the skip.
        below: channels of the gating signal.
        step: how many times finer the skip's grid is, per axis.
    """

    def __init__(self, layers: Layers, skip: int, below: int, step: tuple[int, ...]) -> None:
        super().__init__()
        inner, ones = max(1, skip // 2), (1,) * layers.dims
        self.of_skip = layers.make_down_conv(skip, inner, step)
        self.of_signal = layers.make_conv(below, inner, ones, ones, bias=True)
        self.score = layers.make_conv(inner, 1, ones, ones, bias=True)
        self.scale = [float(s) for s in step]
        self.mode = "bilinear" if layers.dims == 2 else "trilinear"

    def open(self) -> None:
        """Lets nearly everything pass."""
        nn.init.constant_(cast("nn.Parameter", self.score.bias), OPEN)

    def forward(self, skip: Tensor, below: Tensor, enlarged: Tensor) -> Tensor:
        """``(B, skip, *S)`` and ``(B, below, *S / step)`` -> ``(B, skip, *S)``."""
        del enlarged
        weights = self.score(torch.relu(self.of_skip(skip) + self.of_signal(below))).sigmoid()
        return skip * functional.interpolate(
            weights, scale_factor=self.scale, mode=self.mode, align_corners=False
        )


class VoxelGate(nn.Module):
    """Attention on the skip's own grid, a norm after each projection: MONAI's form.

    Args:
        layers: which layers to use.
        skip: channels of the skip.
        enlarged: channels of the gating signal, already of the skip's size.
    """

    def __init__(self, layers: Layers, skip: int, enlarged: int) -> None:
        super().__init__()
        inner, ones = max(1, skip // 2), (1,) * layers.dims

        def project(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(layers.make_conv(inputs, outputs, ones, ones), layers.make_norm(outputs))

        self.of_skip = project(skip, inner)
        self.of_signal = project(enlarged, inner)
        self.score = project(inner, 1)

    def open(self) -> None:
        """Lets nearly everything pass."""
        nn.init.constant_(cast("nn.Parameter", self.score[-1].bias), OPEN)

    def forward(self, skip: Tensor, below: Tensor, enlarged: Tensor) -> Tensor:
        """``(B, skip, *S)`` and ``(B, enlarged, *S)`` -> ``(B, skip, *S)``."""
        del below
        gated: Tensor = skip * self.score(torch.relu(self.of_skip(skip) + self.of_signal(enlarged))).sigmoid()
        return gated


def make_gate(
    gating: Gating, layers: Layers, skip: int, below: int, step: tuple[int, ...]
) -> GridGate | VoxelGate:
    """A gate for a skip that meets features of as many channels, enlarged from ``below`` channels.

    Raises:
        UserError: for an unknown gating.
    """
    if gating == "coarse":
        return GridGate(layers, skip, below, step)
    if gating == "fine":
        return VoxelGate(layers, skip, skip)
    raise UserError("network.gating", f"{gating!r} is unknown", "choose coarse or fine")
