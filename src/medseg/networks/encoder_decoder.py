"""An encoder and a decoder as one network."""

from __future__ import annotations

from torch import Tensor, nn


class EncoderDecoder(nn.Module):
    """The decoder after the encoder.

    Args:
        encoder: image -> features per level.
        decoder: features per level -> logits.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``(B, M, *S)`` -> logits ``(B, K, *S)``, then coarser ones in training."""
        logits: tuple[Tensor, ...] = self.decoder(self.encoder(image))
        return logits
