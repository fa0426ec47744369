"""Other looks at a batch that is on the device already: noise, strong changes of intensity, cut and mix.

Everything draws from torch's generator, which training seeds before each step, and leaves missing
modalities at zero. The patch queue has made the weak view: moved, mirrored and changed as configured.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def spread(values: Tensor, image: Tensor) -> Tensor:
    """``(B, C)`` made to fit ``(B, C, *S)``."""
    return values.reshape(*values.shape, *(1,) * (image.ndim - 2))


def shown(present: Tensor, image: Tensor) -> Tensor:
    """``(B, M)`` bool -> ``(B, C, 1, ...)`` float32 that clears what is missing; in 2.5D each slice of it."""
    return spread(present.repeat_interleave(image.shape[1] // present.shape[1], 1).float(), image)


def noisy(image: Tensor, present: Tensor, std: float) -> Tensor:
    """With Gaussian noise that is cut at twice its standard deviation."""
    noise = (torch.randn_like(image) * std).clamp(-2 * std, 2 * std)
    return image + noise * shown(present, image)


def strong(image: Tensor, present: Tensor, strength: float) -> Tensor:
    """Contrast, brightness, gamma on the range of each channel, and noise; ``strength`` 0 changes nothing.

    Each channel of each sample draws for itself: a factor of contrast in ``exp(+-strength)``, a shift of
    ``+-strength / 2`` standard deviations, an exponent in ``exp(+-strength)``, noise of up to
    ``strength / 5``.
    """

    def drawn() -> Tensor:
        return spread(torch.rand(image.shape[:2], device=image.device) * 2 - 1, image) * strength

    axes = tuple(range(2, image.ndim))
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    extent = (high - low).clamp(min=1e-6)
    changed = low + extent * ((image - low) / extent).clamp(min=0) ** drawn().exp()
    mean, std = changed.mean(axes, keepdim=True), changed.std(axes, keepdim=True)
    changed = (changed - mean) * drawn().exp() + mean + drawn() / 2 * std
    changed = changed + torch.randn_like(image) * drawn().abs() / 5
    return changed * shown(present, image)


def boxes(
    batch: int, size: Sequence[int], share: tuple[float, float], device: torch.device | str = "cpu"
) -> Tensor:
    """``(B, 1, *S)`` bool, true inside one box per sample.

    Args:
        batch: B.
        size: S.
        share: least and largest volume of a box as a share of the patch; the sides vary by a factor of up
            to two against each other.
        device: where.
    """
    axes = len(size)
    volume = share[0] + (share[1] - share[0]) * torch.rand(batch, 1)
    # sides whose shares multiply to the volume: the logarithms of the ratios add up to zero
    ratio = (torch.rand(batch, axes) - 0.5) * 0.7
    sides = (volume ** (1 / axes) * (ratio - ratio.mean(1, keepdim=True)).exp()).clamp(max=1.0)
    lengths = (sides * torch.tensor(size)).round().long()
    first = (torch.rand(batch, axes) * (torch.tensor(size) - lengths + 1)).long()
    inside = torch.ones(batch, 1, *size, dtype=torch.bool)
    for axis, length in enumerate(size):
        place = torch.arange(length)
        within = (place >= first[:, axis, None]) & (place < (first + lengths)[:, axis, None])
        inside &= within.reshape(batch, 1, *(length if k == axis else 1 for k in range(axes)))
    return inside.to(device)


def mixed(inside: Tensor, pasted: Tensor, ground: Tensor) -> Tensor:
    """``pasted`` inside the boxes, ``ground`` elsewhere; ``inside`` ``(B, 1, *S)`` bool."""
    return torch.where(inside, pasted, ground)
