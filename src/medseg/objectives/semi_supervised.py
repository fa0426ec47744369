"""What objectives of two streams share: the labelled loss, and a second term that grows into its weight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Progress
from medseg.errors import UserError
from medseg.losses.deep_supervision import DeepSupervision
from medseg.objectives.ema import EMA
from medseg.objectives.ramp import sigmoid_ramp


class SemiSupervised(nn.Module, ABC):
    """``loss(labelled) + weight * ramp * unlabelled term``.

    Args:
        loss: of logits against a label; also says what the labels are.
        weight: of the second term, once it has grown.
        ramp_up: share of the training in which it grows.
        deep_supervision: of the labelled loss, for networks that have coarser logits.
        decay: how much each coarser level weighs against the finer one.
    """

    STREAMS: ClassVar[tuple[str, ...]] = ("labelled", "unlabelled")
    DEEP_SUPERVISION: ClassVar[bool] = True

    def __init__(
        self,
        loss: Loss,
        *,
        weight: float = 1.0,
        ramp_up: float = 0.4,
        deep_supervision: bool = True,
        decay: float = 0.5,
    ) -> None:
        super().__init__()
        if weight < 0 or not 0 <= ramp_up <= 1:
            problem = f"weight {weight}, ramp_up {ramp_up} are out of range"
            raise UserError("objective", problem, "give weight >= 0 and ramp_up from 0 to 1")
        self.deep_supervision, self.weight, self.ramp_up = deep_supervision, weight, ramp_up
        self.loss = DeepSupervision(loss, decay=decay)
        self.labels = loss.labels
        self._terms: dict[str, Tensor] = {}

    def attach(self, network: nn.Module) -> None:
        """Needs nothing beside the network."""

    def step(self, network: nn.Module, streams: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``loss`` to minimise; ``loss_labelled``, ``loss_unlabelled`` unweighted, and ``weight``.

        Of a compound loss also its terms at labelled voxels, see `DeepSupervision`; of the published network
        where there are two.

        Raises:
            UserError: if the labelled stream carries no label.
        """
        labelled, unlabelled = streams["labelled"], streams["unlabelled"]
        if labelled.label is None:
            raise UserError("objective", "the labelled stream has a batch without a label", "check the split")
        weight = self.weight * sigmoid_ramp(progress, self.ramp_up)
        self._terms = {}
        first, second = self.terms(network, labelled, unlabelled, progress)
        return {
            **self._terms,
            "loss": first + weight * second,
            "loss_labelled": first.detach(),
            "loss_unlabelled": second.detach(),
            "weight": torch.tensor(weight),
        }

    @abstractmethod
    def terms(
        self, network: nn.Module, labelled: Batch, unlabelled: Batch, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """The labelled and the unlabelled term, two scalars with gradients."""

    def labelled_loss(self, logits: Sequence[Tensor], labelled: Batch) -> Tensor:
        """The loss of logits of which the first samples are the labelled ones."""
        assert labelled.label is not None
        return self.against([each[: len(labelled.label)] for each in logits], labelled.label)

    def against(self, logits: Sequence[Tensor], codes: Tensor) -> Tensor:
        """The loss of logits, finest first, against codes; the first one of a step is logged by its terms."""
        value: Tensor = self.loss(logits if self.deep_supervision else logits[:1], codes)
        self._terms = self._terms or self.loss.terms
        return value

    def after_step(self, network: nn.Module, progress: Progress) -> None:
        """Keeps nothing between steps."""


class Taught(SemiSupervised):
    """With a teacher, the moving average of the network; it is what the run publishes, unless told otherwise.

    Args:
        loss: and all that follows: see `SemiSupervised`.
        ema_decay: of the teacher.
        publish_teacher: whether validation and the bundle take the teacher instead of the student.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        weight: float = 1.0,
        ramp_up: float = 0.4,
        ema_decay: float = 0.99,
        publish_teacher: bool = True,
        deep_supervision: bool = True,
        decay: float = 0.5,
    ) -> None:
        super().__init__(loss, weight=weight, ramp_up=ramp_up, deep_supervision=deep_supervision, decay=decay)
        if not 0 <= ema_decay < 1:
            raise UserError("objective.ema_decay", f"{ema_decay} is outside [0, 1)", "give for example 0.99")
        self.ema_decay, self.publish_teacher = ema_decay, publish_teacher
        self.teacher: EMA | None = None

    def attach(self, network: nn.Module) -> None:
        """Makes the teacher."""
        self.teacher = EMA(network, self.ema_decay)

    def after_step(self, network: nn.Module, progress: Progress) -> None:
        """The teacher follows."""
        assert self.teacher is not None
        self.teacher.update(network, progress.step)

    def deployed(self, network: nn.Module) -> nn.Module:
        """The teacher or the student."""
        if self.teacher is None or not self.publish_teacher:
            return network
        return self.teacher.network

    @torch.no_grad()
    def taught(self, image: Tensor, present: Tensor) -> Tensor:
        """The teacher's logits ``(B, K, *S)``."""
        assert self.teacher is not None
        logits: Tensor = self.teacher.network(image, present)[0]
        return logits


def together(labelled: Batch, unlabelled: Batch) -> tuple[Tensor, Tensor]:
    """The images and ``present`` of both streams, the labelled samples first."""
    return (
        torch.cat([labelled.image, unlabelled.image]),
        torch.cat([labelled.present, unlabelled.present]),
    )
