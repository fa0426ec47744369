"""Every token looks at every other: the block of a vision transformer (Dosovitskiy 2021)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Attention of several heads over all tokens; queries, keys and values without bias.

    Args:
        channels: of a token, a multiple of ``heads``.
        heads: how many.
        dropout: share of attention weights and of outputs dropped.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, C)`` -> the same shape."""
        parts = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        share = self.dropout if self.training else 0.0
        # parts: 3 x (B, heads, N, C / heads)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], dropout_p=share)
        out: Tensor = self.drop(self.out(mixed.transpose(1, 2).flatten(2)))
        return out


class TransformerBlock(nn.Module):
    """Attention, then two linear layers per token, each after a layer norm and with a shortcut.

    Args:
        channels: of a token.
        heads: of the attention.
        hidden: channels between the two linear layers.
        dropout: share dropped.
    """

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels, heads, dropout)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, channels),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, C)`` -> the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out
