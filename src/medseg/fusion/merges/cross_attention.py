"""Each place asks all places of all modalities (Vaswani 2017; for modalities Zhang 2022, mmFormer)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.fusion.merges.mean import MeanMerge
from medseg.fusion.presence import broadcast, keep_each


class CrossAttentionMerge(nn.Module):
    """``mean(f) + O attention(Q mean(f), K [f_1; ..; f_M], V [f_1; ..; f_M])``.

    Queries are the voxels of the mean, keys and values those of all modalities that are there: with N
    voxels its time grows as ``M N^2``, so it belongs on the deep levels. No positions are added: features of
    convolutions carry theirs (Islam 2020), and so windows of any size will do. The order of the modalities
    does not matter. Starts as the mean.

    Args:
        channels: ``C``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = next(h for h in (8, 4, 2, 1) if channels % h == 0 and (channels >= 16 * h or h == 1))
        self.mean = MeanMerge()
        self.norm_queries = nn.LayerNorm(channels)
        self.norm_keys = nn.LayerNorm(channels)
        self.queries = nn.Linear(channels, channels)
        self.keys_values = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, features: Sequence[Tensor], present: Tensor) -> Tensor:
        """``M`` tensors ``(B, C, *S)`` and ``(B, M)`` bool -> ``(B, C, *S)``; zero for rows with none."""
        kept = keep_each(features, present)
        mean: Tensor = self.mean(kept, present)
        tokens = mean.flatten(2).transpose(1, 2)  # (B, N, C)
        others = torch.cat([f.flatten(2).transpose(1, 2) for f in kept], dim=1)  # (B, M * N, C)
        keys, values = self.keys_values(self.norm_keys(others)).chunk(2, dim=-1)
        # a row without any modality attends to its zeros: a softmax over nothing would be NaN
        seen = present | ~present.any(1, keepdim=True)
        found = functional.scaled_dot_product_attention(
            self._heads(self.queries(self.norm_queries(tokens))),
            self._heads(keys),
            self._heads(values),
            attn_mask=seen.repeat_interleave(tokens.shape[1], dim=1)[:, None, None],
        )
        added: Tensor = self.project(found.transpose(1, 2).flatten(2))
        none = ~broadcast(present.any(1), mean)
        return mean + added.transpose(1, 2).reshape(mean.shape).masked_fill(none, 0)

    def _heads(self, tokens: Tensor) -> Tensor:
        """``(B, N, C)`` -> ``(B, heads, N, C / heads)``."""
        return torch.unflatten(tokens, 2, (self.heads, -1)).transpose(1, 2)
