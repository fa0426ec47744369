"""Modality-agnostic fusion: one encoder takes any modality, also one that training never saw."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from medseg.contracts import Architecture
from medseg.errors import UserError
from medseg.fusion.encode import make_each, pyramid_of
from medseg.fusion.film import ModalityFilm
from medseg.fusion.merges.choice import make_merge
from medseg.fusion.presence import all_present, apart, keep_present, one_by_one, split_again

_ANY_NUMBER: tuple[str, ...] = ("mean_variance", "mean", "max", "gated", "attention")


class AgnosticFusion(nn.Module):
    """One encoder for every modality, told which it sees or not, then mean and variance over them.

    Told means: the features of every level are scaled and shifted by the modality (FiLM). Constant input
    channels would tell nothing: the usual instance norm takes a constant away again. One more slot,
    ``unknown``, is used at random in training, so that it can stand for any modality; it is what a
    sequence that was never seen gets at prediction.

    Args:
        architecture: makes the encoder and the decoder.
        modalities: ``M``, those of the training.
        out_channels: ``K``.
        deep_supervision: whether training gets coarser logits too.
        overlapping: no matter here, one decoder's logits are handed on.
        slices: neighbouring slices per modality (2.5D), as channels one modality after the other.
        told: whether the features know their modality.
        unknown_probability: how often, in training, a modality that could be told is called unknown.
        merge: over the modalities; only those that take any number of them in any order.

    Raises:
        UserError: a probability outside [0, 1], or an unknown merge.
    """

    NEEDS_MODULAR: ClassVar[bool] = True

    def __init__(
        self,
        architecture: Architecture,
        modalities: int,
        out_channels: int,
        deep_supervision: bool,
        overlapping: bool = False,
        slices: int = 1,
        *,
        told: bool = True,
        unknown_probability: float = 0.2,
        merge: Literal["mean_variance", "mean", "max", "gated", "attention"] = "mean_variance",
    ) -> None:
        super().__init__()
        if not 0 <= unknown_probability <= 1:
            problem = f"{unknown_probability} is no probability"
            raise UserError("fusion.unknown_probability", problem, "give 0 to 1")
        if merge not in _ANY_NUMBER:
            problem = f"{merge!r} is none that takes any number of modalities in any order"
            raise UserError("fusion.merge", problem, f"choose {', '.join(_ANY_NUMBER)}")
        self.modalities, self.slices, self.unknown_probability = modalities, slices, unknown_probability
        self.encoders = make_each(lambda: architecture.encoder(slices), "shared", modalities)
        pyramid = pyramid_of(self.encoders)
        self.film = ModalityFilm(pyramid.channels, modalities + 1) if told else None
        self.merges = nn.ModuleList(
            make_merge(merge, channels, modalities, pyramid.spatial_dims, "fusion.merge")
            for channels in pyramid.channels
        )
        self.decoder = architecture.decoder(pyramid, out_channels, deep_supervision)

    @property
    def unknown(self) -> int:
        """The id of a modality that is none of the ``M``."""
        return self.modalities

    @property
    def takes_unseen(self) -> bool:
        """Whether it learned to do without knowing the modality."""
        return self.film is None or self.unknown_probability > 0

    def forward(
        self, image: Tensor, present: Tensor | None = None, modality_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Logits ``(B, K, *S)``, then coarser ones in training.

        Args:
            image: ``(B, N * slices, *S)``: the ``M`` modalities in their order, or, with ``modality_ids``,
                any number of images of a case in any order.
            present: ``(B, N)`` bool.
            modality_ids: ``(B, N)`` int64, what each image is: 0 to ``M - 1``, or `unknown`.

        Raises:
            UserError: other than ``M`` images without a word on what they are.
        """
        count = image.shape[1] // self.slices
        image = apart(image, count)
        if modality_ids is None:
            if count != self.modalities:
                problem = f"{count} images for a model of {self.modalities} modalities"
                raise UserError("fusion", problem, "say which modality each one is")
            modality_ids = torch.arange(self.modalities, device=image.device).expand(image.shape[:2])
        present = all_present(image) if present is None else present
        levels = self.encoders[0](one_by_one(keep_present(image, present)))
        if self.film is not None:
            levels = self.film(levels, self._forget(modality_ids).t().flatten())
        merged = [
            merge(split_again(level, count), present)
            for merge, level in zip(self.merges, levels, strict=True)
        ]
        logits: tuple[Tensor, ...] = self.decoder(merged)
        return logits

    def _forget(self, ids: Tensor) -> Tensor:
        """In training some ids become unknown, each for itself."""
        if not self.training or self.unknown_probability == 0:
            return ids
        forgotten = torch.rand(ids.shape, device=ids.device) < self.unknown_probability
        return ids.masked_fill(forgotten, self.unknown)
