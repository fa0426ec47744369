"""Masked autoencoder (He 2022): a transformer sees a few boxes of a patch, and the others must be guessed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Pyramid
from medseg.errors import UserError
from medseg.losses.masked_reconstruction import Penalty, masked_reconstruction
from medseg.objectives.pretraining import Pretraining
from medseg.objectives.token_decoder import TokenDecoder


class MaskedAutoencoder(Pretraining):
    """Hidden tokens are left out of the encoder; a light transformer guesses the voxels of their boxes.

    A token is a box of the patch in all modalities, as large as the network cuts them. The loss looks at
    hidden boxes of modalities that are there, and at no others. What the tokens do not pass through, such
    as the convolutions for finer levels, is frozen.

    Args:
        loss: goes unused, there are no labels.
        hidden_share: of the tokens; at least one is hidden and one is seen.
        normalise_boxes: whether the target is each box less its mean, over its standard deviation, in each
            channel for itself. Sharper details, but the noise of empty boxes counts as much as anatomy.
        penalty: ``l2``, as in the paper, or ``l1``.
        width: channels of the decoder, a multiple of 8.
        blocks: of the decoder.
        probe_epochs: epochs between two probes of the encoder by labels of training patients; 0: none.

    Raises:
        UserError: an option out of range.
    """

    NEEDS_TOKENS: ClassVar[bool] = True

    def __init__(
        self,
        loss: Loss,
        *,
        hidden_share: float = 0.75,
        normalise_boxes: bool = False,
        penalty: Penalty = "l2",
        width: int = 128,
        blocks: int = 2,
        probe_epochs: int = 10,
    ) -> None:
        super().__init__(loss, probe_epochs=probe_epochs)
        if not 0 < hidden_share < 1:
            problem = f"{hidden_share} hides nothing or everything"
            raise UserError("objective.hidden_share", problem, "give a share between 0 and 1")
        if penalty not in ("l1", "l2"):
            raise UserError("objective.penalty", f"{penalty!r} is unknown", "choose l1 or l2")
        if width < 8 or width % 8:
            raise UserError("objective.width", f"{width} is no multiple of 8", "give for example 128")
        if blocks < 1:
            raise UserError("objective.blocks", f"{blocks} is too few", "give 1 or more")
        self.hidden_share, self.normalise_boxes = hidden_share, normalise_boxes
        self.penalty: Penalty = penalty
        self.width, self.blocks = width, blocks
        self.patch_size: tuple[int, ...] = ()

    def attach(self, network: nn.Module) -> None:
        """Makes the decoder for the network's patch; what the tokens do not pass through is frozen.

        Raises:
            UserError: the network is not the way down of one that can leave tokens out, or has but one.
        """
        if not hasattr(network, "tokens"):
            problem = f"it leaves tokens out and {type(network).__name__} has none"
            raise UserError("objective", problem, "use network=unetr and fusion=early")
        self.patch_size = tuple(network.patch_size)  # type: ignore[arg-type]
        super().attach(network)

    def make_heads(self, levels: Pyramid, in_channels: int) -> None:
        """From tokens to the voxels of boxes."""
        self.box = levels.strides[-1]
        self.grid = tuple(n // s for n, s in zip(self.patch_size, self.box, strict=True))
        if math.prod(self.grid) < 2:
            problem = f"{list(self.patch_size)} is one token of {list(self.box)} voxels"
            raise UserError("plan.patch_size", problem, "give a larger one, or fewer network.levels")
        voxels = in_channels * math.prod(self.box)
        self.decoder = TokenDecoder(levels.channels[-1], self.width, self.blocks, self.grid, voxels)

    def outputs(self, network: nn.Module, image: Tensor) -> list[Tensor]:
        """The tokens."""
        return [network.tokens(image)]  # type: ignore[operator]

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``loss`` alone."""
        image, present = batch.image, batch.present
        count = math.prod(self.grid)
        hidden = min(max(1, round(self.hidden_share * count)), count - 1)
        # drawn on the CPU: the same on every device
        order = torch.rand(len(image), count).argsort(1).to(image.device)
        kept = order[:, hidden:]
        tokens = network.tokens(image, present, kept)  # type: ignore[operator]
        target = cut_boxes(image, self.box)
        guessed = self.decoder(tokens, kept).unflatten(2, target.shape[2:])
        if self.normalise_boxes:
            target = normalised(target)
        judged = torch.ones(len(image), count, dtype=torch.bool, device=image.device).scatter(1, kept, False)
        known = present.repeat_interleave(image.shape[1] // present.shape[1], 1)
        where = (judged[:, :, None] & known[:, None])[..., None].expand_as(target)
        return {"loss": masked_reconstruction(guessed, target, where, self.penalty)}


def cut_boxes(image: Tensor, box: Sequence[int]) -> Tensor:
    """``(B, C, *S)`` -> ``(B, N, C, V)``: the ``V`` voxels of each box, boxes and voxels in reading order."""
    axes = len(box)
    for axis, length in enumerate(box):
        # (B, C, n0, b0, n1, b1, ..): an axis is two once it has been cut
        image = torch.unflatten(image, 2 + 2 * axis, (-1, length))
    grid, inside = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    return image.permute(0, *grid, 1, *inside).flatten(1, axes).flatten(3)


def normalised(boxes: Tensor) -> Tensor:
    """``(B, N, C, V)`` with mean 0 and standard deviation 1 over the voxels of each box and channel."""
    mean, variance = boxes.mean(3, keepdim=True), boxes.var(3, keepdim=True, unbiased=False)
    return (boxes - mean) / (variance + 1e-6).sqrt()
