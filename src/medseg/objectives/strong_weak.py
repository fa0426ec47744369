"""FixMatch (Sohn 2020) with CutMix, and its form with two strong views, after UniMatch (Yang 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Progress
from medseg.errors import UserError
from medseg.objectives.beliefs import cross_entropy, hardened, probabilities
from medseg.objectives.semi_supervised import Taught
from medseg.objectives.views import boxes, mixed, strong


class StrongWeak(Taught):
    """What is believed of the weak view, where it is sure, is learned from strong views of the same patch.

    The weak view is the queue's patch. A strong view changes its intensities strongly and pastes a box of
    another patch of the batch into it, with the beliefs of that patch. With ``teacher`` the moving average
    believes instead of the network itself. UniMatch's perturbation of features is not part of it.

    Args:
        loss: of the labelled stream.
        weight: of the strong views' cross-entropy, once it has grown.
        ramp_up: share of the training in which it grows.
        confidence: voxels count where the belief has at least this probability.
        strong_views: 1 as in FixMatch, 2 as in UniMatch.
        strength: of the changes of intensity, see `views.strong`.
        cutmix: probability that a strong view gets a box of another patch.
        teacher: whether the moving average believes, instead of the network.
        ema_decay: of it.
        publish_teacher: whether validation and the bundle take it.
        deep_supervision: of the labelled loss.
        decay: how much each coarser level weighs against the finer one.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        weight: float = 1.0,
        ramp_up: float = 0.0,
        confidence: float = 0.95,
        strong_views: int = 1,
        strength: float = 0.5,
        cutmix: float = 0.5,
        teacher: bool = False,
        ema_decay: float = 0.99,
        publish_teacher: bool = True,
        deep_supervision: bool = False,
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
        if strong_views < 1 or not 0 <= confidence < 1 or not 0 <= cutmix <= 1:
            problem = f"strong_views {strong_views}, confidence {confidence}, cutmix {cutmix}: out of range"
            raise UserError("objective", problem, "give strong_views >= 1, confidence and cutmix from 0 to 1")
        self.confidence, self.strong_views, self.strength = confidence, strong_views, strength
        self.cutmix, self.believes = cutmix, teacher

    def terms(
        self, network: nn.Module, labelled: Batch, unlabelled: Batch, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """The labelled loss, and the mean over the strong views."""
        with torch.no_grad():
            weak = self.taught(unlabelled.image, unlabelled.present) if self.believes else None
            if weak is None:
                weak = network(unlabelled.image, unlabelled.present)[0]
            rows, sure = hardened(probabilities(weak, self.labels), self.labels)
        views = [self._view(unlabelled, rows, sure) for _ in range(self.strong_views)]
        seen = torch.cat([labelled.image, *(view[0] for view in views)])
        there = torch.cat([labelled.present, *[unlabelled.present] * self.strong_views])
        logits: tuple[Tensor, ...] = network(seen, there)
        strongly = logits[0][len(labelled.image) :].chunk(self.strong_views)
        second = torch.stack(
            [
                cross_entropy(mine, rows, (sure >= self.confidence).float(), self.labels)
                for mine, (_, rows, sure) in zip(strongly, views, strict=True)
            ]
        ).mean()
        return self.labelled_loss(logits, labelled), second

    def _view(self, batch: Batch, rows: Tensor, sure: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A strong view of every patch, and what is believed of it."""
        image = strong(batch.image, batch.present, self.strength)
        size = image.shape[2:]
        inside = boxes(len(image), size, (0.02, 0.4), image.device)
        chosen = torch.rand(len(image)) < self.cutmix
        # a patch that shows other modalities has nothing to give
        like = (batch.present == batch.present.roll(1, 0)).all(1).cpu()
        inside &= (chosen & like).to(image.device).reshape(-1, *(1,) * (image.ndim - 1))
        return (
            mixed(inside, image.roll(1, 0), image),
            mixed(inside, rows.roll(1, 0), rows),
            mixed(inside, sure.roll(1, 0), sure),
        )
