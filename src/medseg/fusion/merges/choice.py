"""The merges by name, and which of them each level of a pyramid gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import nn

from medseg.contracts import Pyramid
from medseg.errors import UserError
from medseg.fusion.merges.attention import AttentionMerge
from medseg.fusion.merges.concatenation import ConcatenationMerge
from medseg.fusion.merges.cross_attention import CrossAttentionMerge
from medseg.fusion.merges.gated import GatedMerge
from medseg.fusion.merges.maximum import MaxMerge
from medseg.fusion.merges.mean import MeanMerge
from medseg.fusion.merges.mean_variance import MeanVarianceMerge

MergeName = Literal["mean", "max", "concatenation", "gated", "attention", "cross_attention", "mean_variance"]

MERGES: dict[str, Callable[[int, int, int], nn.Module]] = {
    "mean": lambda channels, modalities, dims: MeanMerge(),
    "max": lambda channels, modalities, dims: MaxMerge(),
    "concatenation": ConcatenationMerge,
    "gated": lambda channels, modalities, dims: GatedMerge(channels, dims),
    "attention": lambda channels, modalities, dims: AttentionMerge(channels, dims),
    "cross_attention": lambda channels, modalities, dims: CrossAttentionMerge(channels),
    "mean_variance": lambda channels, modalities, dims: MeanVarianceMerge(channels, dims),
}
"""Name -> ``(channels, modalities, dims)`` -> a merge: ``M`` tensors ``(B, C, *S)`` and ``(B, M)`` bool in,
``(B, C, *S)`` out, so that a decoder reads the pyramid that it knows."""

CROSS_ATTENTION_LEVELS = 2
"""How many levels, the deepest ones, get cross-attention where none are named."""


def make_merge(name: str, channels: int, modalities: int, dims: int, where: str) -> nn.Module:
    """The merge ``name`` of features with ``channels`` channels.

    Raises:
        UserError: no merge is called so; it names ``where``.
    """
    if name not in MERGES:
        raise UserError(where, f"{name!r} is unknown", f"choose {', '.join(MERGES)}")
    return MERGES[name](channels, modalities, dims)


def make_merges(
    pyramid: Pyramid, modalities: int, merge: str, levels: Sequence[int] | None, other: str
) -> nn.ModuleList:
    """A merge per level of the pyramid: ``merge`` at ``levels``, ``other`` elsewhere.

    Raises:
        UserError: a level that the pyramid does not have, none at all, or an unknown merge.
    """
    chosen = choose_levels(len(pyramid.channels), merge, levels)
    return nn.ModuleList(
        make_merge(merge, channels, modalities, pyramid.spatial_dims, "fusion.merge")
        if level in chosen
        else make_merge(other, channels, modalities, pyramid.spatial_dims, "fusion.other_merge")
        for level, channels in enumerate(pyramid.channels)
    )


def choose_levels(depth: int, merge: str, levels: Sequence[int] | None) -> frozenset[int]:
    """The levels, 0 the finest, that get the merge; negative ones count from the deepest, -1.

    Raises:
        UserError: a level outside ``depth``, or none at all.
    """
    if levels is None:
        first = depth - CROSS_ATTENTION_LEVELS if merge == "cross_attention" else 0
        return frozenset(range(max(0, first), depth))
    fix = f"give 0 (finest) to {depth - 1}, or -1 (deepest) to {-depth}, or null"
    if not levels:
        raise UserError("fusion.merge_levels", "names no level, so the merge would do nothing", fix)
    if wrong := [level for level in levels if not -depth <= level < depth]:
        problem = f"{', '.join(map(str, wrong))} is no level of this network, which has {depth}"
        raise UserError("fusion.merge_levels", problem, fix)
    return frozenset(level % depth for level in levels)
