"""UNETR (Hatamizadeh 2022): a vision transformer sees the whole patch, a U-Net's decoder reads it out."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.encoder_decoder import EncoderDecoder
from medseg.networks.layers import Layers
from medseg.networks.pyramid import make_pyramid
from medseg.networks.residual_block import ResidualBlock
from medseg.networks.residual_decoder import make_residual_decoder
from medseg.networks.token_encoder import TokenEncoder, TokenStage
from medseg.networks.transformer_block import TransformerBlock

HEADS = 12
"""Of the attention, as in ViT-B."""


class UNETR:
    """A vision transformer over the whole patch, its layers read out at every level of a U-Net's decoder.

    The transformer's tokens are boxes of as many voxels as the plan's level number ``levels`` strides over:
    16 per axis with halving strides, as in the paper, fewer along axes that the plan pools less. Position
    embeddings belong to the plan's patch, so windows of another size are refused.

    Args:
        topology: levels, strides, kernels, widths and the patch size, from the plan.
        levels: of the pyramid, at most those of the plan; the last one has the tokens.
        blocks: of the transformer.
        hidden_size: channels of a token, a multiple of 12; ``None`` for 24 times the plan's first width,
            which are the paper's 768 at 32.
        mlp_ratio: channels between a block's two linear layers, as a multiple of ``hidden_size``.
        norm: ``instance``, ``batch`` or ``group``, of the convolutions.
        dropout: share dropped in the transformer.

    Raises:
        UserError: for options out of range, and for a patch of more than ``MAX_TOKENS`` tokens.
    """

    MODULAR: ClassVar[bool] = True
    DIMS: ClassVar[tuple[int, ...]] = (2, 3)
    FIXED_PATCH: ClassVar[bool] = True
    GLOBAL_TOKENS: ClassVar[bool] = True
    MIN_LEVELS: ClassVar[int] = 2
    MAX_TOKENS: ClassVar[int] = 4096
    MULTIPLE_OF: ClassVar[dict[str, int]] = {"hidden_size": 12}

    def __init__(
        self,
        topology: Topology,
        *,
        levels: int = 5,
        blocks: int = 12,
        hidden_size: int | None = None,
        mlp_ratio: float = 4.0,
        norm: Literal["instance", "batch", "group"] = "instance",
        dropout: float = 0.0,
    ) -> None:
        hidden = 2 * HEADS * topology.widths[0] if hidden_size is None else hidden_size
        if hidden < 1 or hidden % HEADS:
            raise UserError("network.hidden_size", f"{hidden} is no multiple of {HEADS}", "give one")
        if blocks < 1 or mlp_ratio <= 0 or not 0 <= dropout < 1:
            problem = f"blocks {blocks}, mlp_ratio {mlp_ratio}, dropout {dropout}"
            raise UserError("network", problem, "give at least 1, more than 0 and 0 <= dropout < 1")
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, norm)
        self.levels = min(levels, len(topology.widths))
        if self.levels < self.MIN_LEVELS:
            raise UserError("network.levels", f"{self.levels} in this plan", "UNETR needs 2 or more")
        self.strides = make_pyramid(topology).strides[: self.levels]
        self.grid = tuple(n // s for n, s in zip(topology.patch_size, self.strides[-1], strict=True))
        if math.prod(self.grid) > self.MAX_TOKENS:
            problem = f"{list(topology.patch_size)} makes {math.prod(self.grid)} tokens"
            raise UserError("plan.patch_size", problem, f"give a smaller one; {self.MAX_TOKENS} are allowed")
        self.blocks, self.hidden, self.dropout = blocks, hidden, dropout
        self.mlp = round(mlp_ratio * hidden)

    @property
    def pyramid(self) -> Pyramid:
        """The plan's widths down to the last level, which has the tokens' channels."""
        widths = (*self.topology.widths[: self.levels - 1], self.hidden)
        return Pyramid(self.topology.spatial_dims, widths, self.strides)

    def encoder(self, in_channels: int) -> nn.Module:
        """A convolution block for the finest level; for each other a share of the transformer's blocks."""
        topology, last = self.topology, self.levels - 1
        finest = ResidualBlock(
            self.layers, in_channels, topology.widths[0], topology.kernels[0], topology.strides[0]
        )
        # as in the authors' code: four levels are read after 4, 7, 10 and 12 of 12 blocks
        ends = [min(self.blocks, self.blocks * i // last + 1) for i in range(1, last)]
        stages = []
        for level, (start, end) in enumerate(pairwise((0, *ends, self.blocks)), 1):
            body = nn.Sequential()
            if level == 1:
                body.extend([self._boxes(in_channels), PlacedTokens(self.hidden, self.grid, self.dropout)])
            for _ in range(start, end):
                body.append(TransformerBlock(self.hidden, HEADS, self.mlp, self.dropout))
            if level == last:
                body.append(nn.LayerNorm(self.hidden))
            stages.append(TokenStage(body, self._tap(level)))
        return TokenEncoder(finest, stages, self.pyramid, patch_size=topology.patch_size, placed=2)

    def _boxes(self, in_channels: int) -> nn.Module:
        make, box = nn.Conv2d if self.layers.dims == 2 else nn.Conv3d, self.strides[-1]
        return make(in_channels, self.hidden, box, box)  # type: ignore[arg-type]

    def _tap(self, level: int) -> nn.Module:
        """Tokens -> features of a level: laid out in space and enlarged step by step."""
        tap = nn.Sequential(TokensToGrid(self.grid))
        width, ones, last = self.pyramid.channels[level], (1,) * self.layers.dims, self.levels - 1
        for now in range(last, level, -1):
            inputs = self.hidden if now == last else width
            tap.append(self.layers.make_transposed_conv(inputs, width, self.topology.strides[now]))
            if now < last:
                tap.append(ResidualBlock(self.layers, width, width, self.topology.kernels[now - 1], ones))
        return tap

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The way up from any pyramid."""
        return make_residual_decoder(pyramid, self.topology, out_channels, deep_supervision, self.layers)

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        """Encoder and decoder in one."""
        encoder = self.encoder(in_channels)
        return EncoderDecoder(encoder, self.decoder(self.pyramid, out_channels, deep_supervision))


class PlacedTokens(nn.Module):
    """Boxes of the image as tokens, each told where it lies.

    Args:
        channels: of a token.
        grid: boxes per axis.
        dropout: share dropped.
    """

    def __init__(self, channels: int, grid: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.position_embeddings = nn.Parameter(torch.empty(1, math.prod(grid), channels))
        nn.init.trunc_normal_(self.position_embeddings, std=0.02)
        self.drop = nn.Dropout(dropout)

    def forward(self, boxes: Tensor) -> Tensor:
        """``(B, C, *grid)`` -> ``(B, N, C)``."""
        out: Tensor = self.drop(boxes.flatten(2).transpose(1, 2) + self.position_embeddings)
        return out


class TokensToGrid(nn.Module):
    """Tokens back in space.

    Args:
        grid: tokens per axis.
    """

    def __init__(self, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, C)`` -> ``(B, C, *grid)``, channels innermost in memory."""
        return tokens.transpose(1, 2).reshape(len(tokens), -1, *self.grid)
