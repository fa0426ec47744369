"""Regions in, the augmented batch out: what the device does instead of the workers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medseg.contracts import Batch
from medseg.patches.augment.spatial import Rules
from medseg.patches.on_device import chain, crop, warp
from medseg.patches.on_device.bending import bend_of
from medseg.patches.on_device.positions import positions
from medseg.patches.on_device.region import Region, is_moved
from medseg.patches.on_device.region_batch import RegionBatch
from medseg.patches.on_device.warp import NOWHERE, Warp


def finished(batch: Batch) -> Batch:
    """The batch that training sees: augmented where that is still to be done."""
    return augment(batch) if isinstance(batch, RegionBatch) else batch


@torch.no_grad()
def augment(batch: RegionBatch) -> Batch:
    """Copies or warps every sample, then changes intensities, on the device where the batch lies.

    The numbers are single-precision whatever autocast says. Sums over a patch (its mean, its standard
    deviation) may differ in their last digits between devices and between sizes of the batch.
    """
    if not batch.packed:
        batch = batch.to(batch.present.device)
    (voxels,) = batch.voxels
    codes = None if batch.codes is None else batch.codes[0]
    image = torch.empty(batch.image.shape, dtype=torch.float32, device=voxels.device)
    label = None
    if batch.label is not None:
        label = torch.empty(batch.label.shape, dtype=torch.uint8, device=voxels.device)
    with torch.autocast(voxels.device.type, enabled=False):
        deep, deep_label = _deep(image), None if label is None else _deep(label)[:, 0]
        for one in batch.crops:
            crop.apply(one, voxels, codes, deep, deep_label)
        if batch.warp is not None:
            warp.apply(batch.warp, voxels, codes, deep, deep_label)
        chain.apply(image, batch.chain, label)
    return Batch(image, label, batch.present, batch.index, batch.case)


def _deep(tensor: Tensor) -> Tensor:
    """A view with three axes of space: slices are one voxel deep."""
    return tensor[..., None] if tensor.ndim == 4 else tensor


def collated(regions: Sequence[Region], patch: Sequence[int], rules: Rules, pin: bool = False) -> RegionBatch:
    """Puts regions together and writes down, as small tensors, what is to be done with them.

    Args:
        regions: of the samples of a batch, all labelled or none.
        patch: ``*S``, in two or three axes.
        rules: how labels are treated.
        pin: whether the small tensors go to page-locked memory, as the regions have.
    """
    deep = (*patch, 1) if len(patch) == 2 else tuple(patch)
    size, modalities = len(regions), len(regions[0].drawn.present)
    codes = tuple(region.codes for region in regions if region.codes is not None)
    bases = [_begin([len(r.voxels) for r in regions]), _begin([len(c) for c in codes] or [0] * size)]
    moved = [k for k, region in enumerate(regions) if is_moved(region.drawn.spatial)]
    crops = tuple(
        crop.crop_of(k, regions[k], deep, bases[0][k], bases[1][k]) for k in range(size) if k not in moved
    )
    batch = RegionBatch(
        image=torch.empty((size, modalities, *patch), device="meta"),
        label=torch.empty((size, 1, *patch), dtype=torch.uint8, device="meta") if codes else None,
        present=torch.from_numpy(np.stack([region.drawn.present for region in regions])),
        index=torch.tensor([region.index for region in regions]),
        case=[region.case for region in regions],
        voxels=tuple(region.voxels for region in regions),
        codes=codes or None,
        outside=rules.outside,
        crops=crops,
        warp=_warp_of(regions, moved, deep, rules, bases) if moved else None,
        chain=chain.chain_of([region.drawn.changes for region in regions], modalities, patch),
    )
    return batch.pin_memory() if pin else batch


def _warp_of(
    regions: Sequence[Region],
    moved: Sequence[int],
    patch: Sequence[int],
    rules: Rules,
    bases: list[list[int]],
) -> Warp:
    """The samples that are resampled."""
    which = [regions[k] for k in moved]
    tables = [positions(region, patch) for region in which]
    voxel_base = np.full((len(which), len(which[0].drawn.present)), NOWHERE, np.int64)
    for row, region in enumerate(which):
        there = region.drawn.present.nonzero()[0]
        step = int(np.prod(region.box.size))
        voxel_base[row, there] = bases[0][moved[row]] + step * np.arange(len(there))
    return Warp(
        samples=tuple(moved),
        whole=torch.from_numpy(np.stack([whole for whole, _ in tables])),
        part=torch.from_numpy(np.stack([part for _, part in tables])),
        size=torch.tensor([region.box.size for region in which]),
        voxel_base=torch.from_numpy(voxel_base),
        code_base=torch.tensor([bases[1][k] for k in moved]),
        bend=bend_of([region.drawn.spatial.elastic for region in which], patch),
        in_plane=rules.in_plane,
        nearest=rules.nearest,
    )


def _begin(lengths: Sequence[int]) -> list[int]:
    """Where each piece begins, behind one first element."""
    return [1 + int(n) for n in np.cumsum([0, *lengths[:-1]])]
