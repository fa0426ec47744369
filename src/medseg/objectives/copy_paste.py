"""Bidirectional copy-paste (Bai 2023): boxes of labelled patches in unlabelled ones, and the other way."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from medseg.contracts import IGNORE, Batch, Loss, Progress
from medseg.errors import UserError
from medseg.objectives.semi_supervised import Taught
from medseg.objectives.views import mixed, shown


class CopyPaste(Taught):
    """The teacher labels the unlabelled patches; student and loss see both kinds only mixed.

    Until ``paste_from`` of the training labelled patches are pasted into each other and nothing else is
    learned, as in the paper's first stage. Every patch is mixed with one other: a box of ``box`` of each
    side, at a random place, is of one kind and the rest of the other; the part that the teacher labelled
    weighs ``weight``. Of the teacher's answer the largest component of each class is kept.

    Args:
        loss: of logits against codes; the mean of its values at labelled and at unlabelled voxels.
        weight: of the voxels that the teacher labelled.
        paste_from: share of the training after which the unlabelled stream takes part.
        box: side of the box as a share of the patch's.
        ema_decay: of the teacher.
        publish_teacher: whether validation and the bundle take the teacher instead of the student.
        deep_supervision: of the labelled loss.
        decay: how much each coarser level weighs against the finer one.
    """

    EXCLUSIVE: ClassVar[bool] = True

    def __init__(
        self,
        loss: Loss,
        *,
        weight: float = 0.5,
        paste_from: float = 0.25,
        box: float = 0.6667,
        ema_decay: float = 0.99,
        publish_teacher: bool = True,
        deep_supervision: bool = True,
        decay: float = 0.5,
    ) -> None:
        super().__init__(
            loss,
            weight=weight,
            ramp_up=0.0,
            ema_decay=ema_decay,
            publish_teacher=publish_teacher,
            deep_supervision=deep_supervision,
            decay=decay,
        )
        if not 0 <= paste_from < 1 or not 0 < box < 1:
            problem = f"paste_from {paste_from}, box {box} are out of range"
            raise UserError("objective", problem, "give shares from 0 to 1")
        self.paste_from, self.box = paste_from, box

    def terms(
        self, network: nn.Module, labelled: Batch, unlabelled: Batch, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """The losses at voxels that people labelled, and at those that the teacher labelled."""
        assert labelled.label is not None
        inside = self._inside(labelled.image)
        nothing = torch.full_like(labelled.label, IGNORE)
        image, present = labelled.image, labelled.present
        if progress.step < self.paste_from * progress.total_steps:
            other = image.roll(1, 0)
            logits = _seen(network, mixed(inside, other, image), present & present.roll(1, 0))
            codes = mixed(inside, labelled.label.roll(1, 0), labelled.label)
            return self.against(logits, codes), torch.zeros((), device=image.device)
        theirs = self._labelled_by_teacher(unlabelled)
        partners = torch.arange(len(image)) % len(unlabelled.image)
        raw, theirs = unlabelled.image[partners], theirs[partners]
        there = torch.cat([present & unlabelled.present[partners]] * 2)
        seen = torch.cat([mixed(inside, raw, image), mixed(inside, image, raw)])
        logits = _seen(network, seen, there)
        people = torch.cat([mixed(inside, nothing, labelled.label), mixed(inside, labelled.label, nothing)])
        teacher = torch.cat([mixed(inside, theirs, nothing), mixed(inside, nothing, theirs)])
        return self.against(logits, people), self.against(logits, teacher)

    def _inside(self, image: Tensor) -> Tensor:
        """``(1, 1, *S)`` bool: one box at a random place, the same in the whole batch."""
        size = image.shape[2:]
        inside = torch.zeros(1, 1, *size, dtype=torch.bool)
        place = [slice(None), slice(None)]
        for n in size:
            length = max(1, round(n * self.box))
            first = int(torch.randint(0, n - length + 1, ()))
            place.append(slice(first, first + length))
        inside[tuple(place)] = True
        return inside.to(image.device)

    def _labelled_by_teacher(self, batch: Batch) -> Tensor:
        codes = self.taught(batch.image, batch.present).argmax(1, keepdim=True).to(torch.uint8)
        return largest_components(codes)


def _seen(network: nn.Module, image: Tensor, present: Tensor) -> tuple[Tensor, ...]:
    """Of a mixture, the network is shown the modalities that both patches have."""
    logits: tuple[Tensor, ...] = network(image * shown(present, image), present)
    return logits


def largest_components(codes: Tensor) -> Tensor:
    """``(B, 1, *S)`` uint8 with the largest connected component of each class and sample; the rest is 0."""
    from scipy import ndimage

    array = codes.cpu().numpy()
    kept = np.zeros_like(array)
    for sample, target in zip(array[:, 0], kept[:, 0], strict=True):
        for code in np.unique(sample[sample > 0]):
            parts, count = ndimage.label(sample == code)
            if count:
                sizes = np.bincount(parts.ravel(), minlength=count + 1)
                target[parts == 1 + int(sizes[1:].argmax())] = code
    return torch.from_numpy(kept).to(codes.device)
