"""From objects to a map: small masks laid over the image, and the probability of each class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_AT_ONCE = 16
_NEVER = 1e-6
"""No probability is nearer to 0 or 1: a logit must be finite."""


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, ``N`` of them, the surest first.

    Attributes:
        boxes: ``(N, 4)``, lower and upper corner in voxels, the last axis first; voxel 0 reaches to 0.5.
        labels: ``(N,)`` int64, the codes, from 1.
        scores: ``(N,)``, how sure each is.
        masks: ``(N, m, m)`` probabilities, stretched over the box.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks ``(N, m, m)`` where their boxes ``(N, 4)`` are: ``(N, *size)``, zero outside.

    Each voxel whose centre is in the box, its border included, gets the mask there, interpolated. Beyond the
    centres of the mask's outer cells it goes on as it is: a box may end in the middle of a voxel, as one cut
    at the image's edge does.
    """
    lines = []
    for axis in (0, 1):  # the boxes' first corner is along the last axis
        low, high = boxes[:, 1 - axis, None], boxes[:, 3 - axis, None]
        voxels = torch.arange(size[axis], device=boxes.device, dtype=boxes.dtype)
        lines.append(2 * (voxels - low) / (high - low).clamp(min=1e-3) - 1)
    rows, columns = lines
    shape = (len(masks), *size)
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
    pasted = functional.grid_sample(masks[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    return pasted * (grid.abs() <= 1).all(dim=-1)


def class_probabilities(found: Detections, classes: int, size: tuple[int, int]) -> Tensor:
    """How sure it is that an object of a class is at a voxel: ``(classes, *size)``.

    Of one object it is the smaller of its score and its mask: with a score above one half it reaches as far
    as its mask does, and the others stay below one half. Several count as if each had been found by itself:
    ``1 - (1 - p)(1 - q)``. The background, code 0, is none of the classes.
    """
    none = found.masks.new_ones(classes, *size)
    for start in range(0, len(found.scores), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        each = paste(found.masks[part], found.boxes[part], size).minimum(found.scores[part, None, None])
        for code in sorted(set(found.labels[part].tolist())):
            none[code - 1] *= (1 - each[found.labels[part] == code]).prod(dim=0)
    return 1 - none


def outlined(found: Detections, size: tuple[int, int], least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Those with a score of at least ``least``: masks ``(N, *size)`` bool, codes and scores ``(N,)``."""
    sure = found.scores >= least
    masks, boxes = found.masks[sure], found.boxes[sure]
    parts = [
        paste(masks[start : start + _AT_ONCE], boxes[start : start + _AT_ONCE], size) > 0.5
        for start in range(0, len(masks), _AT_ONCE)
    ]
    whole = torch.cat(parts) if parts else torch.zeros(0, *size, dtype=torch.bool, device=masks.device)
    return whole, found.labels[sure], found.scores[sure]


def as_logits(probabilities: Tensor) -> Tensor:
    """Probabilities of the classes ``(K - 1, *S)`` -> logits ``(K, *S)`` with the background first.

    The softmax gives them back where one class alone is possible; where several are, as if each had been
    judged by itself and it is then known that they exclude each other.
    """
    return functional.pad(torch.logit(probabilities, eps=_NEVER), (0, 0, 0, 0, 1, 0))
