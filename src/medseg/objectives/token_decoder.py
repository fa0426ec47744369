"""A light transformer that fills in tokens which an encoder was not given."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

HEADS = 4


class TokenDecoder(nn.Module):
    """Known tokens at their places, one learned token at all others, a few blocks, and a linear map.

    Args:
        channels: of the encoder's tokens.
        width: channels here, a multiple of 8.
        blocks: of the transformer.
        grid: tokens per axis.
        out: numbers to tell of each token.
    """

    def __init__(self, channels: int, width: int, blocks: int, grid: Sequence[int], out: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(channels, width)
        self.unknown = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.normal_(self.unknown, std=0.02)
        self.register_buffer("places", place_codes(grid, width), persistent=False)
        self.blocks = nn.ModuleList(_block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, out)

    def forward(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """Tokens ``(B, n, channels)`` and their places ``(B, n)`` int64 -> ``(B, N, out)``, all places."""
        known = self.narrow(tokens)
        places: Tensor = self.places  # type: ignore[assignment]
        every = self.unknown.to(known.dtype).expand(len(known), len(places), -1)
        found: Tensor = every.scatter(1, kept[..., None].expand_as(known), known) + places
        for block in self.blocks:
            found = block(found)
        answer: Tensor = self.out(self.norm(found))
        return answer


def _block(width: int) -> nn.Module:
    return nn.TransformerEncoderLayer(
        width, HEADS, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )


def place_codes(grid: Sequence[int], width: int) -> Tensor:
    """``(N, width)`` sines and cosines of each place along each axis (Vaswani 2017), in reading order.

    Each axis has as many channels as the others; channels left over are 0.
    """
    pairs = width // (2 * len(grid))
    rates = 10_000.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    places = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in grid])
    places = places.reshape(math.prod(grid), len(grid))
    angles = places[..., None] * rates  # (N, axes, pairs)
    codes = torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)
    return nn.functional.pad(codes, (0, width - codes.shape[1])).float()
