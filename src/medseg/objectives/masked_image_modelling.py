"""Masked image modelling (Chen 2019, Xie 2022): boxes of a patch are hidden and must be guessed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Pyramid
from medseg.errors import UserError
from medseg.losses.masked_reconstruction import Penalty, masked_reconstruction
from medseg.objectives.pretraining import Pretraining
from medseg.objectives.reconstruction_head import ReconstructionHead


class MaskedImageModelling(Pretraining):
    """Hides boxes of voxels with zeros, and trains the encoder to tell what was there.

    As in SimMIM, for any encoder: what is hidden still goes through it, as zeros. The loss looks at hidden
    voxels of modalities that are there, and at no others.

    Args:
        loss: goes unused, there are no labels.
        hidden_share: of the boxes.
        boxes: per axis into which a patch is cut; fewer along axes of fewer voxels.
        together: whether the same boxes are hidden in all modalities; else each for itself, so that one
            can be told from another.
        penalty: ``l1`` or ``l2``.
        width: channels of the head that guesses.
        probe_epochs: epochs between two probes of the encoder by labels of training patients; 0: none.

    Raises:
        UserError: an option out of range.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        hidden_share: float = 0.6,
        boxes: int = 8,
        together: bool = True,
        penalty: Penalty = "l1",
        width: int = 16,
        probe_epochs: int = 10,
    ) -> None:
        super().__init__(loss, probe_epochs=probe_epochs)
        if not 0 < hidden_share < 1:
            problem = f"{hidden_share} hides nothing or everything"
            raise UserError("objective.hidden_share", problem, "give a share between 0 and 1")
        for name, value, least in (("boxes", boxes, 2), ("width", width, 1)):
            if value < least:
                raise UserError(f"objective.{name}", f"{value} is too few", f"give {least} or more")
        if penalty not in ("l1", "l2"):
            raise UserError("objective.penalty", f"{penalty!r} is unknown", "choose l1 or l2")
        self.hidden_share, self.boxes, self.together = hidden_share, boxes, together
        self.penalty: Penalty = penalty
        self.width = width

    def make_heads(self, levels: Pyramid, in_channels: int) -> None:
        """From the pyramid to an image."""
        self.head = ReconstructionHead(levels, in_channels, self.width)

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``loss`` alone."""
        image, present = batch.image, batch.present
        masks = 1 if self.together else present.shape[1]
        drawn = hide_boxes(len(image) * masks, image.shape[2:], self.boxes, self.hidden_share, image.device)
        channels = image.shape[1] // present.shape[1]
        hidden = drawn.reshape(len(image), masks, *image.shape[2:]).expand(
            -1, present.shape[1], *[-1] * (image.ndim - 2)
        )
        known = present.reshape(*present.shape, *(1,) * (image.ndim - 2))
        hidden = (hidden & known).repeat_interleave(channels, 1)
        levels = network(image.masked_fill(hidden, 0), present)
        guessed = self.head(levels, image.shape[2:])
        return {"loss": masked_reconstruction(guessed, image, hidden, self.penalty)}


def hide_boxes(
    count: int, size: Sequence[int], boxes: int, share: float, device: torch.device | str = "cpu"
) -> Tensor:
    """``(count, *size)`` bool, true in ``share`` of the boxes of a grid, the same number in each.

    Args:
        count: of masks, each drawn for itself from torch's generator.
        size: voxels per axis.
        boxes: per axis, at most one per voxel; they differ by a voxel where they do not divide it.
        share: of the boxes, rounded; at least one is hidden and one is seen where there are two.
        device: where.
    """
    grid = [min(boxes, n) for n in size]
    total = math.prod(grid)
    chosen = min(max(1, round(share * total)), max(1, total - 1))
    hidden = (torch.rand(count, total).argsort(1) < chosen).reshape(count, *grid).to(device)
    for axis, (n, parts) in enumerate(zip(size, grid, strict=True), start=1):
        hidden = hidden.index_select(axis, torch.arange(n, device=device) * parts // n)
    return hidden
