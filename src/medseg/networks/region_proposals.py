"""Where objects may be: the region proposal network (Ren 2015), which can leave regions out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.rpn import RegionProposalNetwork

MOST_IGNORED = 0.5
"""A region of which more is ignored teaches nothing, unless it shows a known object."""

Target = dict[str, Tensor]


class RegionProposals(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's, but anchors on ignored voxels are no examples of background."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Per image the labels ``(A,)`` of its anchors (1 an object, 0 none, -1 left out) and their boxes."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets, strict=True):
            unknown = ignored_share(anchor, target["ignored"]) > MOST_IGNORED
            label[(label == 0) & unknown] = -1
        return labels, boxes

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Of objectness and of boxes; 0 with a gradient of zeros where every anchor is left out."""
        if any(bool((label >= 0).any()) for label in labels):
            found: tuple[Tensor, Tensor] = super().compute_loss(
                objectness, deltas, labels, regression_targets
            )
            return found
        return objectness.sum() * 0, deltas.sum() * 0


def ignored_share(boxes: Tensor, ignored: Tensor) -> Tensor:
    """Which share of the voxels in each box is ignored.

    Args:
        boxes: ``(N, 4)``, lower and upper corner, the last axis first; voxel 0 is at 0.
        ignored: ``(W, H)`` bool.

    Returns:
        ``(N,)``, 0 for a box that holds no voxel.
    """
    if not bool(ignored.any()):
        return boxes.new_zeros(len(boxes))
    table = functional.pad(ignored.long().cumsum(0).cumsum(1), (1, 0, 1, 0))
    most = torch.tensor([ignored.shape[1], ignored.shape[0]], device=boxes.device)
    low = boxes[:, :2].ceil().long().clamp(min=0).minimum(most)
    high = (boxes[:, 2:].floor().long() + 1).clamp(min=0).minimum(most)
    (x0, y0), (x1, y1) = low.T, torch.maximum(low, high).T
    inside = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    size = (x1 - x0) * (y1 - y0)
    share: Tensor = inside / size.clamp(min=1)
    return share


def as_target(masks: Tensor, labels: Tensor, ignored: Tensor) -> Target:
    """What torchvision's parts read of the objects in an image; a voxel reaches half a voxel around it."""
    return {"boxes": boxes_of(masks), "labels": labels, "masks": masks, "ignored": ignored}


def boxes_of(masks: Tensor) -> Tensor:
    """``(N, W, H)`` bool -> ``(N, 4)`` float32, lower and upper corner, the last axis first."""
    if not len(masks):
        return torch.zeros(0, 4, device=masks.device)
    corners: list[Any] = []
    for axis in (1, 2):  # where the other axis has something
        line = masks.any(dim=axis)
        first = line.float().argmax(dim=1)
        last = line.shape[1] - 1 - line.flip(1).float().argmax(dim=1)
        corners.append((first - 0.5, last + 0.5))
    (x0, x1), (y0, y1) = corners
    return torch.stack([x0, y0, x1, y1], dim=1)
