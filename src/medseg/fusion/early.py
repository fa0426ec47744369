"""Early fusion: the modalities are the channels of one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from medseg.contracts import Architecture
from medseg.fusion.encoding import Encoding, encoder_within
from medseg.fusion.presence import apart, keep_present


class EarlyFusion(nn.Module):
    """All modalities into one network; what a case lacks is zero, the mean of a normalised image.

    Args:
        architecture: makes the network.
        modalities: ``M``.
        out_channels: ``K``.
        deep_supervision: whether training gets coarser logits too.
        overlapping: no matter here, one network's logits are handed on.
        slices: neighbouring slices per modality (2.5D), as channels one modality after the other.
    """

    NEEDS_MODULAR: ClassVar[bool] = False
    ONE_NETWORK: ClassVar[bool] = True
    ENCODING: ClassVar[bool] = True

    def __init__(
        self,
        architecture: Architecture,
        modalities: int,
        out_channels: int,
        deep_supervision: bool,
        overlapping: bool = False,
        slices: int = 1,
    ) -> None:
        super().__init__()
        self.modalities, self.slices = modalities, slices
        self.network = architecture.whole(modalities * slices, out_channels, deep_supervision)

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        """``(B, M * slices, *S)``, ``(B, M)`` bool -> logits ``(B, K, *S)``; in training coarser ones too."""
        if present is not None:
            image = keep_present(apart(image, self.modalities), present).flatten(1, 2)
        logits: tuple[Tensor, ...] = self.network(image)
        return logits

    def decode(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the network makes of the features of its `encoding`; it must come in halves."""
        logits: tuple[Tensor, ...] = self.network.decoder(features)  # type: ignore[operator]
        return logits

    def encoding(self) -> Encoding:
        """The encoder alone, with the weights of this network.

        Raises:
            UserError: the network does not come as encoder and decoder.
        """
        encoders = nn.ModuleList([encoder_within(self.network)])
        return Encoding(encoders, None, self.modalities, self.slices)
