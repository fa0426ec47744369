"""Late fusion: a network per modality, and one answer made of theirs."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from medseg.contracts import Architecture
from medseg.errors import UserError
from medseg.fusion.encode import make_each, run_each
from medseg.fusion.opinions.learned import LearnedOpinion
from medseg.fusion.opinions.mean import MeanOpinion
from medseg.fusion.opinions.product import ProductOpinion
from medseg.fusion.opinions.vote import VoteOpinion
from medseg.fusion.presence import all_present, apart, keep_present


class LateFusion(nn.Module):
    """Each modality is segmented by itself; what they say of each voxel is merged.

    The networks are trained together, through the merged answer; coarser logits are merged alike.

    Args:
        architecture: makes the networks.
        modalities: ``M``.
        out_channels: ``K``.
        deep_supervision: whether training gets coarser logits too.
        overlapping: regions (sigmoid) or exclusive classes (softmax): what a probability is.
        slices: neighbouring slices per modality (2.5D), as channels one modality after the other.
        weights: a network for each modality, or one ``shared`` by all and not told which it sees.
        merge: ``mean`` of the probabilities; ``learned``, a mean with a weight per modality and class;
            ``product`` of experts; majority ``vote`` (in training the mean).

    Raises:
        UserError: an unknown choice.
    """

    NEEDS_MODULAR: ClassVar[bool] = False

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
        merge: Literal["mean", "learned", "product", "vote"] = "mean",
    ) -> None:
        super().__init__()
        self.modalities = modalities
        self.networks = make_each(
            lambda: architecture.whole(slices, out_channels, deep_supervision), weights, modalities
        )
        self.merge = _make_opinion(merge, modalities, out_channels, overlapping)

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        """``(B, M * slices, *S)``, ``(B, M)`` bool -> logits ``(B, K, *S)``; in training coarser ones too."""
        image = apart(image, self.modalities)
        present = all_present(image) if present is None else present
        levels = run_each(self.networks, keep_present(image, present), self.modalities)
        return tuple(self.merge(level, present) for level in levels)


def _make_opinion(merge: str, modalities: int, out_channels: int, overlapping: bool) -> nn.Module:
    if merge == "mean":
        return MeanOpinion(overlapping)
    if merge == "learned":
        return LearnedOpinion(modalities, out_channels, overlapping)
    if merge == "product":
        return ProductOpinion()
    if merge == "vote":
        return VoteOpinion(overlapping)
    raise UserError("fusion.merge", f"{merge!r} is unknown", "choose mean, learned, product or vote")
