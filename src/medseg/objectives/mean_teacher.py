"""Mean Teacher (Tarvainen and Valpola 2017), and its form that trusts certain voxels only (Yu 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Progress
from medseg.errors import UserError
from medseg.objectives.beliefs import probabilities
from medseg.objectives.ramp import sigmoid_ramp
from medseg.objectives.semi_supervised import Taught, together
from medseg.objectives.views import noisy, strong


class MeanTeacher(Taught):
    """The student's probabilities of unlabelled patches follow the teacher's, who sees them with other noise.

    The consistency is the mean squared difference of the probabilities. With ``uncertainty_views`` the
    teacher answers that often, each time with other noise, and only voxels count whose mean answer has an
    entropy under a threshold; that rises from 3/4 of the largest entropy to all of it (UA-MT). Weight and
    ramp are by default those of UA-MT's authors.

    Args:
        loss: of the labelled stream.
        weight: of the consistency, once it has grown.
        ramp_up: share of the training in which it grows.
        ema_decay: of the teacher.
        noise: standard deviation of the noise, in units of the normalised image.
        strength: of the changes of intensity in what the student sees; 0 for none.
        uncertainty_views: answers of the teacher, 0 for the plain form.
        publish_teacher: whether validation and the bundle take the teacher instead of the student.
        deep_supervision: of the labelled loss.
        decay: how much each coarser level weighs against the finer one.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        weight: float = 0.1,
        ramp_up: float = 1.0,
        ema_decay: float = 0.99,
        noise: float = 0.1,
        strength: float = 0.0,
        uncertainty_views: int = 0,
        publish_teacher: bool = True,
        deep_supervision: bool = True,
        decay: float = 0.5,
    ) -> None:
        super().__init__(
            loss,
            weight=weight,
            ramp_up=ramp_up,
            ema_decay=ema_decay,
            publish_teacher=publish_teacher,
            deep_supervision=deep_supervision,
            decay=decay,
        )
        if min(noise, strength, uncertainty_views) < 0:
            given = f"noise {noise}, strength {strength}, uncertainty_views {uncertainty_views}"
            raise UserError("objective", f"{given}: one is negative", "give 0 or more")
        self.noise, self.strength, self.uncertainty_views = noise, strength, uncertainty_views

    def terms(
        self, network: nn.Module, labelled: Batch, unlabelled: Batch, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """The labelled loss and the consistency."""
        image, present = together(labelled, unlabelled)
        if self.strength:
            here = len(labelled.image)
            changed = strong(unlabelled.image, unlabelled.present, self.strength)
            image = torch.cat([image[:here], changed])
        logits: tuple[Tensor, ...] = network(image, present)
        mine = probabilities(logits[0][len(labelled.image) :], self.labels)
        theirs = self._answer(unlabelled)
        difference = (mine - theirs) ** 2
        if self.uncertainty_views:
            return self.labelled_loss(logits, labelled), self._certain(difference, unlabelled, progress)
        return self.labelled_loss(logits, labelled), difference.mean()

    def _answer(self, batch: Batch) -> Tensor:
        seen = noisy(batch.image, batch.present, self.noise)
        return probabilities(self.taught(seen, batch.present), self.labels)

    def _certain(self, difference: Tensor, batch: Batch, progress: Progress) -> Tensor:
        answers = torch.stack([self._answer(batch) for _ in range(self.uncertainty_views)]).mean(0)
        rows = answers.clamp(1e-6, 1 - 1e-6)
        if self.labels.overlapping:
            unsure, most = -(rows * rows.log() + (1 - rows) * (1 - rows).log()), math.log(2)
        else:
            unsure, most = -(rows * rows.log()).sum(1, keepdim=True), math.log(rows.shape[1])
        threshold = (0.75 + 0.25 * sigmoid_ramp(progress, self.ramp_up)) * most
        mask = (unsure < threshold).expand_as(difference)
        return (difference * mask).sum() / mask.sum().clamp(min=1)
