"""One augmented patch, and the memory of the batch that patches are written into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from medseg.contracts import Batch
    from medseg.patches.augment.intensity import Change
    from medseg.patches.augment.spatial import Spatial
    from medseg.patches.batch_memory import BatchMemory


@dataclass(frozen=True)
class Drawn:
    """All that is random about one patch.

    Attributes:
        start: its first voxel in the scan before it is moved, per store axis; may lie outside.
        spatial: how it is turned, scaled, bent and mirrored.
        changes: of its intensities, in the order in which they are done.
        present: ``(M,)`` bool, the modalities that it shows; a case may have more.
    """

    start: tuple[int, int, int]
    spatial: Spatial
    changes: Sequence[Change]
    present: NDArray[np.bool_]


@dataclass
class Sample:
    """One patch, with the fields of `medseg.contracts.Batch` less the batch axis.

    Attributes:
        image: ``(M, *S)`` float32; a missing modality is all zero.
        label: ``(1, *S)`` uint8 codes, or ``None`` for an unlabelled stream.
        present: ``(M,)`` bool.
        index: ``(2,)`` int64, epoch and number.
        case: the id of the case.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None
    present: NDArray[np.bool_]
    index: NDArray[np.int64]
    case: str


def empty_batch(
    size: int,
    modalities: int,
    patch: Sequence[int],
    labelled: bool,
    pin: bool = False,
    slices: int = 1,
    memory: BatchMemory | None = None,
) -> Batch:
    """A batch to be filled in place, ``size`` samples of ``patch`` voxels; page-locked if ``pin``.

    With neighbouring ``slices`` (2.5D) the image has ``modalities * slices`` channels. Voxels that are not
    page-locked lie in ``memory``.
    """
    import torch

    from medseg.contracts import Batch

    def small(*shape: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(*shape, dtype=dtype, pin_memory=pin)

    def voxels(*shape: int, dtype: torch.dtype, kind: type[np.generic]) -> torch.Tensor:
        if pin or memory is None:
            return small(*shape, dtype=dtype)
        return torch.from_numpy(memory.array(shape, kind))

    return Batch(
        image=voxels(size, modalities * slices, *patch, dtype=torch.float32, kind=np.float32),
        label=voxels(size, 1, *patch, dtype=torch.uint8, kind=np.uint8) if labelled else None,
        present=small(size, modalities, dtype=torch.bool),
        index=small(size, 2, dtype=torch.int64),
        case=[""] * size,
    )


def views(batch: Batch) -> list[Sample]:
    """The batch's samples as numpy views; what is written into them is in the batch."""
    image, present, index = batch.image.numpy(), batch.present.numpy(), batch.index.numpy()
    label = None if batch.label is None else batch.label.numpy()
    return [
        Sample(image[k], None if label is None else label[k], present[k], index[k], batch.case[k])
        for k in range(len(batch.case))
    ]
