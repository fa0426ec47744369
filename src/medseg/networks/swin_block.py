"""Attention within windows that shift from block to block (Liu 2021), for 2D and 3D."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class WindowAttention(nn.Module):
    """Attention of several heads among the tokens of a window, which know how far apart they lie.

    Args:
        channels: of a token, a multiple of ``heads``.
        heads: how many.
        window: tokens per axis.
    """

    def __init__(self, channels: int, heads: int, window: tuple[int, ...]) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias = DistanceBias(heads, window)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """``(B * windows, N, C)`` -> the same shape; ``mask`` ``(windows, N, N)`` is added."""
        parts = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (parts[0] * self.scale) @ parts[1].transpose(-2, -1) + self.bias()
        if mask is not None:
            weights = (weights.unflatten(0, (-1, mask.shape[0])) + mask[:, None]).flatten(0, 1)
        weights = weights.softmax(dim=-1).to(parts.dtype)
        out: Tensor = self.out((weights @ parts[2]).transpose(1, 2).flatten(2))
        return out


class DistanceBias(nn.Module):
    """A learned number for each distance in a window and each head.

    Args:
        heads: how many.
        window: tokens per axis.
    """

    index: Tensor

    def __init__(self, heads: int, window: tuple[int, ...]) -> None:
        super().__init__()
        distances = math.prod(2 * size - 1 for size in window)
        self.relative_position_bias_table = nn.Parameter(torch.empty(distances, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("index", index_distances(window), persistent=False)
        self.count = math.prod(window)

    def forward(self) -> Tensor:
        """``(heads, N, N)``."""
        chosen = self.relative_position_bias_table[self.index]
        return chosen.view(self.count, self.count, -1).permute(2, 0, 1)


def index_distances(window: tuple[int, ...]) -> Tensor:
    """For each pair of tokens in a window the number of their distance, ``(N * N,)``."""
    axes = [torch.arange(size) for size in window]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    apart = places[:, :, None] - places[:, None, :]
    number = torch.zeros_like(apart[0])
    for axis, size in enumerate(window):
        number = number * (2 * size - 1) + apart[axis] + size - 1
    return number.flatten()


class SwinBlock(nn.Module):
    """Attention in windows, then two linear layers per token, each after a layer norm, with a shortcut.

    Args:
        channels: of a token.
        heads: of the attention.
        window: tokens per axis.
        hidden: channels between the two linear layers.
        shifted: whether the windows lie half a window further.
        drop_path: share of samples for which the block is left out in training.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: tuple[int, ...],
        hidden: int,
        *,
        shifted: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.window = window
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, *S, C)`` -> the same shape."""
        tokens = tokens + self.drop_path(self._attend(self.norm1(tokens)))
        out: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return out

    def _attend(self, tokens: Tensor) -> Tensor:
        size = tuple(tokens.shape[1:-1])
        full = tuple(-(-n // w) * w for n, w in zip(size, self.window, strict=True))
        # an axis that one window covers is not shifted
        shift = [w // 2 if self.shifted and n > w else 0 for n, w in zip(size, self.window, strict=True)]
        axes = list(range(1, tokens.ndim - 1))
        pad = [extra for n, f in zip(reversed(size), reversed(full), strict=True) for extra in (0, f - n)]
        tokens = functional.pad(tokens, [0, 0, *pad])
        mask = None
        if any(shift):
            tokens = torch.roll(tokens, [-s for s in shift], axes)
            mask = mask_of_shift(full, self.window, shift, tokens)
        mixed = join_windows(self.attention(split_windows(tokens, self.window), mask), full, self.window)
        if any(shift):
            mixed = torch.roll(mixed, shift, axes)
        return mixed[(slice(None), *(slice(n) for n in size))]


def split_windows(tokens: Tensor, window: tuple[int, ...]) -> Tensor:
    """``(B, *S, C)`` -> ``(B * windows, N, C)``."""
    dims = len(window)
    shape = [n for size, w in zip(tokens.shape[1:-1], window, strict=True) for n in (size // w, w)]
    order = [0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1]
    parts = tokens.reshape(tokens.shape[0], *shape, tokens.shape[-1]).permute(order)
    return parts.reshape(-1, math.prod(window), tokens.shape[-1])


def join_windows(windows: Tensor, size: tuple[int, ...], window: tuple[int, ...]) -> Tensor:
    """``(B * windows, N, C)`` -> ``(B, *size, C)``, undoing `split_windows`."""
    dims = len(window)
    counts = [n // w for n, w in zip(size, window, strict=True)]
    order = [0, *(axis for a in range(dims) for axis in (1 + a, 1 + dims + a)), 2 * dims + 1]
    parts = windows.reshape(-1, *counts, *window, windows.shape[-1]).permute(order)
    return parts.reshape(-1, *size, windows.shape[-1])


def mask_of_shift(size: tuple[int, ...], window: tuple[int, ...], shift: list[int], like: Tensor) -> Tensor:
    """``(windows, N, N)``: -100 between tokens that the roll has brought together from opposite ends."""
    region = torch.zeros((1,) * (len(size) + 2), device=like.device)
    for axis, (n, w, s) in enumerate(zip(size, window, shift, strict=True)):
        place = torch.arange(n, device=like.device)
        part = (place >= n - w).to(region.dtype) + (place >= n - s) if s else torch.zeros_like(place)
        shape = [1] * (len(size) + 2)
        shape[axis + 1] = n
        region = region * 3 + part.view(shape)
    windows = split_windows(region, window).squeeze(-1)
    return (windows[:, None] != windows[:, :, None]).to(region.dtype) * -100.0


class DropPath(nn.Module):
    """Leaves out whole samples in training and scales up the others (stochastic depth, Huang 2016).

    Args:
        share: of samples left out.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, ...)`` -> the same shape."""
        if self.share == 0 or not self.training:
            return tokens
        kept = 1 - self.share
        chosen = torch.rand((tokens.shape[0],) + (1,) * (tokens.ndim - 1), device=tokens.device) < kept
        return tokens * chosen.to(tokens.dtype) / kept


class PatchMerging(nn.Module):
    """The tokens of each stride-sized box become one, by a layer norm and a linear layer.

    Args:
        channels: in.
        outputs: channels out.
        stride: tokens of a box, per axis.
    """

    def __init__(self, channels: int, outputs: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.stride = stride
        joined = math.prod(stride) * channels
        self.norm = nn.LayerNorm(joined)
        self.reduce = nn.Linear(joined, outputs, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, *S, C)`` -> ``(B, *S / stride, outputs)``."""
        counts = [n // s for n, s in zip(tokens.shape[1:-1], self.stride, strict=True)]
        boxes = split_windows(tokens, self.stride).flatten(1)
        out: Tensor = self.reduce(self.norm(boxes.reshape(tokens.shape[0], *counts, -1)))
        return out
