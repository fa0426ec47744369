"""Exact copies on the device, for patches of which no voxel is moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from medseg.patches.on_device.region import Region


@dataclass(frozen=True)
class Crop:
    """One sample that is copied, mirrored and padded where asked.

    Attributes:
        sample: its place in the batch.
        channels: the modalities that were read.
        voxel_base: where its box begins in the packed voxels.
        code_base: where it begins in the packed codes.
        size: of the box.
        place: first voxel of the patch that the box fills, per axis, after mirroring.
        flips: which axes are mirrored.
        whole: whether the box fills the patch.
    """

    sample: int
    channels: tuple[int, ...]
    voxel_base: int
    code_base: int
    size: tuple[int, int, int]
    place: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    whole: bool


def crop_of(sample: int, region: Region, patch: Sequence[int], voxel_base: int, code_base: int) -> Crop:
    """What there is to do for one region."""
    size, flips = region.box.size, region.drawn.spatial.flips
    inset = [low - s for low, s in zip(region.box.low, region.drawn.start, strict=True)]
    x, y, z = (p - i - n if flip else i for p, i, n, flip in zip(patch, inset, size, flips, strict=True))
    channels = tuple(int(m) for m in region.drawn.present.nonzero()[0])
    whole = tuple(patch) == size
    return Crop(sample, channels, voxel_base, code_base, size, (x, y, z), flips, whole)


def apply(crop: Crop, voxels: Tensor, codes: Tensor | None, image: Tensor, label: Tensor | None) -> None:
    """Fills one sample.

    Args:
        crop: which, and how.
        voxels: the packed boxes.
        codes: those of the labels; their first element is the code outside the scan.
        image: ``(B, M, P0, P1, P2)``, written in place.
        label: ``(B, P0, P1, P2)``, likewise.
    """
    target = image[crop.sample]
    if not crop.whole or len(crop.channels) < len(target):
        target.zero_()
    for row, channel in enumerate(crop.channels):
        _copy(voxels, crop.voxel_base + row * math.prod(crop.size), crop, target[channel])
    if label is not None and codes is not None:
        if not crop.whole:
            label[crop.sample] = codes[0]
        _copy(codes, crop.code_base, crop, label[crop.sample])


def _copy(packed: Tensor, begin: int, crop: Crop, target: Tensor) -> None:
    """One box, mirrored, to its place in one patch."""
    box = packed[begin : begin + math.prod(crop.size)].view(crop.size)
    mirrored = [axis for axis, flip in enumerate(crop.flips) if flip]
    x, y, z = (slice(first, first + n) for first, n in zip(crop.place, crop.size, strict=True))
    target[x, y, z] = box.flip(mirrored) if mirrored else box
