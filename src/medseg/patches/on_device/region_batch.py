"""A batch on its way: boxes of scans and, as small tensors, what is to be done with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from medseg.contracts import Batch
from medseg.patches.on_device.chain import Step
from medseg.patches.on_device.crop import Crop
from medseg.patches.on_device.warp import Warp

_Holder = TypeVar("_Holder")


@dataclass
class RegionBatch(Batch):
    """A `Batch` before its augmentation; `medseg.patches.on_device.augmenting.augment` makes the batch.

    ``image`` and ``label`` are promises: tensors on the meta device, with the shape that they will have and
    no memory.

    Attributes:
        voxels: float32, a flat tensor per sample: its box, the present modalities one after the other. After
            `to` one tensor, all boxes behind a first element that stands for what lies outside the scans.
        codes: uint8, likewise; ``None`` for an unlabelled stream.
        outside: the label beyond the scan.
        crops: the samples whose voxels are copied.
        warp: the samples that are resampled, ``None`` where there are none.
        chain: the changes of intensity, in order.
        packed: whether `to` has been called.
    """

    voxels: tuple[Tensor, ...]
    codes: tuple[Tensor, ...] | None
    outside: int
    crops: tuple[Crop, ...]
    warp: Warp | None
    chain: tuple[Step, ...]
    packed: bool = False

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RegionBatch:
        """The batch on a device, its boxes put together in one piece of memory."""
        target = torch.device(device)

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(target, non_blocking=non_blocking)

        moved = self._with_small(move)
        if self.packed:
            codes = None if self.codes is None else (move(self.codes[0]),)
            return replace(moved, voxels=(move(self.voxels[0]),), codes=codes)
        packed = (_packed(self.voxels, 0, target, non_blocking),)
        codes = None if self.codes is None else (_packed(self.codes, self.outside, target, non_blocking),)
        return replace(moved, voxels=packed, codes=codes, packed=True)

    def pin_memory(self) -> RegionBatch:
        """The batch in page-locked memory; what lies there already is not copied."""
        codes = None if self.codes is None else tuple(piece.pin_memory() for piece in self.codes)
        voxels = tuple(piece.pin_memory() for piece in self.voxels)
        return replace(self._with_small(Tensor.pin_memory), voxels=voxels, codes=codes)

    def _with_small(self, change: Callable[[Tensor], Tensor]) -> RegionBatch:
        """The batch with every tensor changed but the boxes and the promises."""
        return replace(
            self,
            present=change(self.present),
            index=change(self.index),
            warp=None if self.warp is None else with_tensors(self.warp, change),
            chain=tuple(with_tensors(step, change) for step in self.chain),
        )


def with_tensors(holder: _Holder, change: Callable[[Tensor], Tensor]) -> _Holder:
    """A dataclass with every tensor in it changed, those of dataclasses and tuples in it too."""

    def of(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if is_dataclass(value):
            return with_tensors(value, change)
        return tuple(of(item) for item in value) if isinstance(value, tuple) else value

    data = cast(Any, holder)
    return cast(
        _Holder, replace(data, **{field.name: of(getattr(data, field.name)) for field in fields(data)})
    )


def _packed(pieces: tuple[Tensor, ...], outside: int, device: torch.device, non_blocking: bool) -> Tensor:
    """All pieces behind one element; each is copied straight to its place."""
    total = 1 + sum(len(piece) for piece in pieces)
    flat = torch.empty(total, dtype=pieces[0].dtype, device=device)
    flat[:1].fill_(outside)
    begin = 1
    for piece in pieces:
        flat[begin : begin + len(piece)].copy_(piece, non_blocking=non_blocking)
        begin += len(piece)
    return flat
