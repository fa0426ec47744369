"""MedNeXt's block (Roy 2023): a large depthwise kernel, then a perceptron per voxel, with a shortcut."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.depthwise_conv import make_depthwise, make_depthwise_transposed
from medseg.networks.instance_norm import InstanceNorm
from medseg.networks.layers import Layers
from medseg.networks.transposed_convolution import ConvTranspose2d, ConvTranspose3d


class MedNeXtBlock(nn.Module):
    """Spread in space, normalise each channel, expand, GELU, compress; the shortcut is added.

    Args:
        spread: the depthwise convolution, plain, strided or transposed.
        shortcut: input -> the size and channels of the output.
        channels: in.
        outputs: channels out.
        expansion: channels of the perceptron's middle, as a multiple of ``channels``.
        layers: make the 1x1 convolutions.
        response_norm: whether the middle has a global response norm.
        grow: voxels of zeros to add in front of each axis of the result.
    """

    def __init__(
        self,
        spread: nn.Module,
        shortcut: nn.Module,
        channels: int,
        outputs: int,
        *,
        expansion: int,
        layers: Layers,
        response_norm: bool,
        grow: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        ones, middle = (1,) * layers.dims, expansion * channels
        self.spread = spread
        self.norm = InstanceNorm(channels)
        self.expand = layers.make_conv(channels, middle, ones, ones, bias=True)
        self.activation = nn.GELU()
        self.response = GlobalResponseNorm(middle, layers.dims) if response_norm else nn.Identity()
        self.compress = layers.make_conv(middle, outputs, ones, ones, bias=True)
        self.shortcut = shortcut
        self.grow = [number for extra in reversed(grow) for number in (extra, 0)]

    def forward(self, features: Tensor) -> Tensor:
        """``(B, channels, *S)`` -> ``(B, outputs, *S')``."""
        middle = self.response(self.activation(self.expand(self.norm(self.spread(features)))))
        out: Tensor = self.shortcut(features) + self.compress(middle)
        return functional.pad(out, self.grow) if any(self.grow) else out


class GlobalResponseNorm(nn.Module):
    """Channels compete: each is scaled by its norm over the volume against the mean of all (Woo 2023).

    Args:
        channels: ``C``.
        dims: 2 or 3.
    """

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, channels, *(1,) * dims))
        self.bias = nn.Parameter(torch.zeros(1, channels, *(1,) * dims))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, C, *S)`` -> the same shape."""
        axes = tuple(range(2, features.ndim))
        # in float32 at least: the squares of a whole volume leave bfloat16's digits and float16's range
        wide = torch.promote_types(features.dtype, torch.float32)
        size = torch.linalg.vector_norm(features, dim=axes, keepdim=True, dtype=wide)
        share = (size / (size.mean(dim=1, keepdim=True) + 1e-6)).to(features.dtype)
        out: Tensor = self.weight * (features * share) + self.bias + features
        return out


def make_block(
    layers: Layers, channels: int, kernel: tuple[int, ...], *, expansion: int, response_norm: bool
) -> MedNeXtBlock:
    """``(B, channels, *S)`` -> the same shape."""
    spread = make_depthwise(layers.dims, channels, kernel, (1,) * layers.dims, bias=True)
    return MedNeXtBlock(
        spread,
        nn.Identity(),
        channels,
        channels,
        expansion=expansion,
        layers=layers,
        response_norm=response_norm,
    )


def make_down(
    layers: Layers,
    channels: int,
    outputs: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    expansion: int,
) -> MedNeXtBlock:
    """``(B, channels, *S)`` -> ``(B, outputs, *S / stride)``."""
    spread = make_depthwise(layers.dims, channels, kernel, stride, bias=True)
    shortcut = layers.make_conv(channels, outputs, (1,) * layers.dims, stride, bias=True)
    return MedNeXtBlock(
        spread, shortcut, channels, outputs, expansion=expansion, layers=layers, response_norm=False
    )


def make_up(
    layers: Layers,
    channels: int,
    outputs: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    expansion: int,
    response_norm: bool,
) -> MedNeXtBlock:
    """``(B, channels, *S)`` -> ``(B, outputs, *S * stride)``.

    Transposed convolutions of an odd kernel reach ``(S - 1) * stride + 1``; zeros in front make up the rest.
    """
    make = ConvTranspose2d if layers.dims == 2 else ConvTranspose3d
    return MedNeXtBlock(
        make_depthwise_transposed(layers.dims, channels, kernel, stride),
        make(channels, outputs, 1, stride),  # type: ignore[arg-type]
        channels,
        outputs,
        expansion=expansion,
        layers=layers,
        response_norm=response_norm,
        grow=tuple(step - 1 for step in stride),
    )
