"""Mid fusion: an encoder per modality, merged level by level, then one decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from medseg.contracts import Architecture
from medseg.fusion.encode import make_each, pyramid_of
from medseg.fusion.encoding import Encoding, merge_each
from medseg.fusion.merges.choice import MergeName, make_merges
from medseg.fusion.presence import all_present, apart, keep_present


class MidFusion(nn.Module):
    """Each modality is encoded by itself; the decoder sees one pyramid, as if there were one image.

    With a single modality it is the plain network, but for what the merge itself adds.

    Args:
        architecture: makes encoders and the decoder.
        modalities: ``M``.
        out_channels: ``K``.
        deep_supervision: whether training gets coarser logits too.
        overlapping: no matter here, one decoder's logits are handed on.
        slices: neighbouring slices per modality (2.5D), as channels one modality after the other.
        weights: an encoder for each modality, or one ``shared`` by all and not told which it sees.
        merge: how the features of the modalities become one.
        merge_levels: the levels that get it, 0 the finest, -1 the deepest; ``None`` for all, for
            cross-attention the two deepest.
        other_merge: how all other levels are merged.

    Raises:
        UserError: a level that the network does not have, or an unknown choice.
    """

    NEEDS_MODULAR: ClassVar[bool] = True
    ENCODING: ClassVar[bool] = True

    def __init__(
        self,
        architecture: Architecture,
        modalities: int,
        out_channels: int,
        deep_supervision: bool,
        overlapping: bool = False,
        slices: int = 1,
        *,
        weights: Literal["separate", "shared"] = "separate",
        merge: MergeName = "mean",
        merge_levels: Sequence[int] | None = None,
        other_merge: MergeName = "mean",
    ) -> None:
        super().__init__()
        self.modalities, self.slices = modalities, slices
        self.encoders = make_each(lambda: architecture.encoder(slices), weights, modalities)
        pyramid = pyramid_of(self.encoders)
        self.merges = make_merges(pyramid, modalities, merge, merge_levels, other_merge)
        self.decoder = architecture.decoder(pyramid, out_channels, deep_supervision)

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        """``(B, M * slices, *S)``, ``(B, M)`` bool -> logits ``(B, K, *S)``; in training coarser ones too."""
        image = apart(image, self.modalities)
        present = all_present(image) if present is None else present
        merged = merge_each(self.encoders, self.merges, keep_present(image, present), present)
        return self.decode(merged)

    def decode(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the decoder makes of the features of the `encoding`."""
        logits: tuple[Tensor, ...] = self.decoder(features)
        return logits

    def encoding(self) -> Encoding:
        """The encoders and what merges them, with the weights of this network."""
        return Encoding(self.encoders, self.merges, self.modalities, self.slices)
