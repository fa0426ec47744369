"""Whether a loader gives what it says: a few voxels of each patch are kept and looked at afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from patch_loaders.cases import CLASSES, Case

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_VOXELS = 16  # per axis of what is kept
_PATCHES = 64
TOGETHER = 0.4
"""Median correlation of channel 0 with the foreground; about 0.9 where both moved together, 0 where not."""


@dataclass
class Evidence:
    """Collects from batches; costs microseconds, so it may run while the clock does.

    Attributes:
        case: what was asked for.
        problems: what was wrong with the form of a batch.
    """

    case: Case
    problems: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    kept: list[tuple[NDArray[Any], NDArray[Any]]] = field(default_factory=list)

    def add(self, image: Tensor, label: Tensor) -> None:
        """Looks at the form of a batch and keeps every n-th voxel of its patches."""
        patch = (self.case.patch,) * 3
        for what, tensor, channels in (("image", image, self.case.volume.channels), ("label", label, 1)):
            if tuple(tensor.shape[1:]) != (channels, *patch):
                self.problems.add(f"{what} of shape {tuple(tensor.shape[1:])}")
        if str(image.dtype) != "torch.float32":
            self.problems.add(f"image of {image.dtype}")
        self.kinds.add(str(label.dtype).removeprefix("torch."))
        if not self.problems and len(self.kept) < _PATCHES:
            step = (slice(None, None, max(1, self.case.patch // _VOXELS)),) * 3
            self.kept += [
                (i[(0, *step)].numpy().copy(), t[(0, *step)].numpy().copy())
                for i, t in zip(image, label, strict=True)
            ]

    def summary(self) -> dict[str, Any]:
        """What was found: ``together`` and the shares of foreground are ``None`` where nothing shows them."""
        codes = {float(code) for _, label in self.kept for code in np.unique(label)}
        if odd := sorted(codes - set(range(CLASSES + 1))):
            self.problems.add(f"labels {odd}")
        if not self.kept:
            self.problems.add("no patch")
        elif not all(np.isfinite(image).all() for image, _ in self.kept):
            self.problems.add("values that are not finite")
        masks = [label > 0 for _, label in self.kept]
        together = [
            float(np.corrcoef(image.ravel(), mask.ravel())[0, 1])
            for (image, _), mask in zip(self.kept, masks, strict=True)
            if 0.01 < mask.mean() < 0.99 and image.std() > 0
        ]
        middle = float(np.median(together)) if together else None
        if middle is not None and middle < TOGETHER:
            self.problems.add(f"image and label are not aligned (correlation {middle:.2f})")
        return {
            "problems": sorted(self.problems),
            "label_dtype": "/".join(sorted(self.kinds)),
            "patches": len(self.kept),
            "together": middle,
            "with_foreground": float(np.mean([mask.any() for mask in masks])) if masks else None,
            "foreground": float(np.mean([mask.mean() for mask in masks])) if masks else None,
        }
