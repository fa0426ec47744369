"""Test-time augmentation: the mean over mirrored copies of the input."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor


def flip_sets(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every subset of the spatial ``axes``, the empty one (no mirroring) first."""
    ordered = sorted(set(axes))
    return [s for size in range(len(ordered) + 1) for s in itertools.combinations(ordered, size)]


def flipped_mean(score: Callable[[Tensor], Tensor], image: Tensor, axes: Sequence[int]) -> Tensor:
    """The mean of ``score`` over all mirrored copies, each mirrored back.

    Args:
        score: ``(B, M, *S)`` -> ``(B, K, *S)``.
        image: ``(B, M, *S)``.
        axes: spatial axes to mirror, 0 for the first of ``S``; ``n`` axes call ``score`` ``2^n`` times.
    """
    total: Tensor | None = None
    sets = flip_sets(axes)
    for chosen in sets:
        dims = [axis + 2 for axis in chosen]
        scores = score(image.flip(dims)).flip(dims) if dims else score(image)
        total = scores if total is None else total + scores
    assert total is not None
    return total / len(sets)
