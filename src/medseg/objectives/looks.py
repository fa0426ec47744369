"""Two looks at one patch: cut out and enlarged, mirrored, changed, and where each lies in the patch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medseg.objectives.views import boxes, strong


@dataclass(frozen=True)
class Look:
    """A patch as it is seen once.

    Coordinates run from -1 to 1 over the patch, per axis in the image's order. ``u`` of the look is
    ``centre + half * u`` of the patch; ``half`` is negative along axes that are mirrored.

    Attributes:
        image: ``(B, C, *S)``, as large as the patch.
        centre: ``(B, axes)``.
        half: ``(B, axes)``.
    """

    image: Tensor
    centre: Tensor
    half: Tensor

    def place(self, points: Tensor) -> Tensor:
        """``(B, K, axes)`` of the patch -> of the look."""
        return (points - self.centre[:, None]) / self.half[:, None]


@torch.no_grad()
def look(image: Tensor, present: Tensor, *, crop: float, flip: float, strength: float, cutout: float) -> Look:
    """Draws one from torch's generator, which training seeds before each step; what is missing stays zero.

    Args:
        image: ``(B, C, *S)``.
        present: ``(B, M)`` bool.
        crop: smallest share of the patch's sides that is seen; above one half any two looks overlap.
        flip: probability of mirroring, per axis.
        strength: of the changes of intensity, see `medseg.objectives.views.strong`.
        cutout: largest share of the volume that one box hides with zeros.
    """
    count, axes, device = len(image), image.ndim - 2, image.device
    share = crop + (1 - crop) * torch.rand(count, 1, device=device)
    centre = (1 - share) * (2 * torch.rand(count, axes, device=device) - 1)
    mirrored = torch.rand(count, axes, device=device) < flip
    half = share * torch.where(mirrored, -1.0, 1.0)
    seen = strong(resample(image, centre, half), present, strength)
    hidden = boxes(count, image.shape[2:], (0.0, cutout), device)
    return Look(seen.masked_fill(hidden, 0), centre, half)


def resample(image: Tensor, centre: Tensor, half: Tensor) -> Tensor:
    """The part of ``image`` ``(B, C, *S)`` around ``centre``, enlarged to its size; linear."""
    # grid_sample counts the axes from the last one on
    scale = torch.diag_embed(half.flip(1))
    theta = torch.cat([scale, centre.flip(1)[..., None]], dim=2).to(image.dtype)
    grid = functional.affine_grid(theta, list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)


def shared_points(first: Look, second: Look, count: int) -> Tensor:
    """``(B, count, axes)``: random points of the patch that both looks see."""
    low = torch.maximum(first.centre - first.half.abs(), second.centre - second.half.abs())
    high = torch.minimum(first.centre + first.half.abs(), second.centre + second.half.abs())
    drawn = torch.rand(len(low), count, low.shape[1], device=low.device)
    return low[:, None] + drawn * (high - low)[:, None]


def features_at(features: Tensor, points: Tensor) -> Tensor:
    """``(B, C, *S)`` at ``(B, K, axes)`` coordinates from -1 to 1 -> ``(B, K, C)``; linear."""
    ones = (1,) * (features.ndim - 3)
    grid = points.flip(2).reshape(*points.shape[:2], *ones, points.shape[2])
    with torch.autocast(features.device.type, enabled=False):
        found = functional.grid_sample(
            features.float(), grid.float(), padding_mode="border", align_corners=False
        )
    return found.flatten(2).transpose(1, 2)
