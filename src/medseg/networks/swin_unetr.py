"""Swin UNETR (Hatamizadeh 2022): a transformer with shifted windows down, a residual U-Net's way up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.encoder_decoder import EncoderDecoder
from medseg.networks.layers import Layers
from medseg.networks.pyramid import make_pyramid
from medseg.networks.residual_block import ResidualBlock
from medseg.networks.residual_decoder import make_residual_decoder
from medseg.networks.swin_block import PatchMerging, SwinBlock
from medseg.networks.token_encoder import TokenEncoder, TokenStage

HEADS = 3
"""Of the first stage's attention; twice as many from stage to stage."""


class SwinUNETR:
    """A Swin transformer as the encoder of a residual U-Net; attention in windows, shifted in turn.

    The plan's strides are those of the patch embedding and of the merging between stages, so anisotropic
    plans are merged along fewer axes. Windows are no longer than the features of the plan's patch, and
    prediction keeps to that patch: in windows of another size the attention would be cut otherwise.

    Args:
        topology: levels, strides, kernels, widths and the patch size, from the plan.
        feature_size: channels of the two finest levels, a multiple of 12, doubled from there on; ``None``
            for the plan's first width, rounded up to one.
        depths: blocks per stage, every second one with shifted windows. A stage ends at a level of the plan
            below the first two, so a plan of fewer levels has fewer stages; one of two levels has blocks
            at the second.
        window_size: tokens per axis that see each other, at most.
        mlp_ratio: channels between a block's two linear layers, as a multiple of its own.
        norm: ``instance``, ``batch`` or ``group``, of the convolutions.
        drop_path: share of samples that skip the last block in training; linearly fewer before it.

    Raises:
        UserError: for options out of range or a plan of one level.
    """

    MODULAR: ClassVar[bool] = True
    DIMS: ClassVar[tuple[int, ...]] = (2, 3)
    FIXED_PATCH: ClassVar[bool] = True
    MIN_LEVELS: ClassVar[int] = 2
    MULTIPLE_OF: ClassVar[dict[str, int]] = {"feature_size": 12}

    def __init__(
        self,
        topology: Topology,
        *,
        feature_size: int | None = None,
        depths: Sequence[int] = (2, 2, 2, 2),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        norm: Literal["instance", "batch", "group"] = "instance",
        drop_path: float = 0.0,
    ) -> None:
        size = -(-topology.widths[0] // 12) * 12 if feature_size is None else feature_size
        if size < 1 or size % 12:
            raise UserError("network.feature_size", f"{size} is no multiple of 12", "give one")
        if window_size < 2 or mlp_ratio <= 0 or not 0 <= drop_path < 1:
            problem = f"window_size {window_size}, mlp_ratio {mlp_ratio}, drop_path {drop_path}"
            raise UserError("network", problem, "give at least 2, more than 0 and 0 <= drop_path < 1")
        depths = tuple(depths)
        if not depths or min(depths) < 1:
            raise UserError("network.depths", f"{list(depths)} leaves a stage without a block", "give 1..")
        if len(topology.widths) < self.MIN_LEVELS:
            fix = "SwinUNETR needs 2 or more; use a larger plan.patch_size"
            raise UserError("network", "the plan has 1 level", fix)
        self.topology = topology
        self.layers = Layers(topology.spatial_dims, norm)
        self.merges = min(len(depths), len(topology.widths) - 2)
        self.depths = depths[: max(1, self.merges)]
        self.window_size, self.mlp_ratio, self.drop_path = window_size, mlp_ratio, drop_path
        levels = self.merges + 2
        channels = (size, *(size * 2**i for i in range(levels - 1)))
        self.pyramid = Pyramid(topology.spatial_dims, channels, make_pyramid(topology).strides[:levels])

    def encoder(self, in_channels: int) -> nn.Module:
        """A convolution block for the finest level, the patch embedding, then a stage for each other."""
        topology, width, box = self.topology, self.pyramid.channels[0], self.pyramid.strides[1]
        finest = ResidualBlock(self.layers, in_channels, width, topology.kernels[0], topology.strides[0])
        embedding = (nn.Conv2d if self.layers.dims == 2 else nn.Conv3d)(in_channels, width, box, box)  # type: ignore[arg-type]
        body = nn.Sequential(embedding, ToTokens(), *(() if self.merges else self._blocks(0)))
        stages = [TokenStage(body, self._tap(1))]
        for stage in range(self.merges):
            body = nn.Sequential(*self._blocks(stage))
            width = self.pyramid.channels[stage + 1]
            body.append(PatchMerging(width, 2 * width, topology.strides[stage + 2]))
            stages.append(TokenStage(body, self._tap(stage + 2)))
        return TokenEncoder(finest, stages, self.pyramid)

    def _blocks(self, stage: int) -> list[nn.Module]:
        """Blocks whose windows shift in turn."""
        channels, stride = self.pyramid.channels[stage + 1], self.pyramid.strides[stage + 1]
        size = [n // s for n, s in zip(self.topology.patch_size, stride, strict=True)]
        window = tuple(min(n, self.window_size) for n in size)
        before, total = sum(self.depths[:stage]), sum(self.depths)
        return [
            SwinBlock(
                channels,
                HEADS * 2**stage,
                window,
                round(channels * self.mlp_ratio),
                shifted=block % 2 == 1,
                drop_path=self.drop_path * (before + block) / max(total - 1, 1),
            )
            for block in range(self.depths[stage])
        ]

    def _tap(self, level: int) -> nn.Module:
        """Tokens -> features, normalised; convolved at every level but the one above the coarsest."""
        width, ones = self.pyramid.channels[level], (1,) * self.layers.dims
        tap = nn.Sequential(ToFeatures())
        if level != len(self.pyramid.channels) - 2:
            kernel = self.topology.kernels[level]
            tap.append(ResidualBlock(self.layers, width, width, kernel, ones))
        return tap

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The way up from any pyramid."""
        return make_residual_decoder(pyramid, self.topology, out_channels, deep_supervision, self.layers)

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        """Encoder and decoder in one."""
        encoder = self.encoder(in_channels)
        return EncoderDecoder(encoder, self.decoder(self.pyramid, out_channels, deep_supervision))


class ToTokens(nn.Module):
    """``(B, C, *S)`` -> ``(B, *S, C)``."""

    def forward(self, features: Tensor) -> Tensor:
        """The channels last."""
        return features.movedim(1, -1)


class ToFeatures(nn.Module):
    """``(B, *S, C)`` -> ``(B, C, *S)``, each token normalised, without a learned scale."""

    def forward(self, tokens: Tensor) -> Tensor:
        """The channels first; in memory they stay innermost."""
        return functional.layer_norm(tokens, tokens.shape[-1:]).movedim(-1, 1)
